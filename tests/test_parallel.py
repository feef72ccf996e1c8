import os
import subprocess
import sys

import pytest

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
