import os
import subprocess
import sys
import threading

import cv2
import pytest

from alphacut.parallel import shared_out, side_by_side

PROGRAM = """
import os, cv2
from alphacut.parallel import side_by_side
cv2.setNumThreads(2)
with side_by_side(2):
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
    else:
        with side_by_side(2):
            within = cv2.getNumThreads()
if not child:
    os._exit((within, cv2.getNumThreads()) != (1, 1))
print(status, cv2.getNumThreads())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_child_stays_on_one_opencv_thread() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.split() == ["0", "2"], done.stderr


def test_parts_are_done_in_order_and_one_at_a_time_by_the_caller_himself() -> None:
    def square(part: int) -> tuple[int, bool]:
        return part * part, threading.current_thread() is caller

    caller, before = threading.current_thread(), cv2.getNumThreads()
    with side_by_side(2):
        assert shared_out(square, range(4)) == [(0, True), (1, True), (4, True), (9, True)]
    try:
        cv2.setNumThreads(2)
        assert shared_out(square, range(4)) == [(0, False), (1, False), (4, False), (9, False)]
    finally:
        cv2.setNumThreads(before)
