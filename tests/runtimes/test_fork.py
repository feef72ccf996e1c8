"""Forked children of a process that has cut out already: libraries' threads stay in the parent."""

import importlib.util
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")

PROGRAM = """
import multiprocessing, sys, threading, warnings
import cv2, numpy as np
import alphacut

warnings.simplefilter("ignore")
photo = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype("uint8"), (900, 700))
choice = {"runtime": sys.argv[1]}
remover = alphacut.Remover(**choice)
expected = remover(photo).alpha

def child(queue):
    queue.put(abs(remover(photo).alpha - expected).max())  # the parent's network
    queue.put(abs(alphacut.remove(photo, **choice).alpha - expected).max())
    threads = [threading.Thread(target=each, args=(photo,)) for each in (remover, remover)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(sum(1 for _ in remover.map([photo, photo])) - 2)

context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
print(max(queue.get(timeout=80) for _ in range(3)))
process.join(20)
print(process.exitcode)
process.kill()
"""


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_a_forked_child_cuts_out_as_its_parent_does(runtime: str) -> None:
    library = {"onnx": "onnxruntime"}.get(runtime, runtime)
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, runtime], capture_output=True, text=True, timeout=110
    )
    difference, status = done.stdout.split()
    assert (float(difference) < 1e-4, status) == (True, "0"), done.stderr


def test_the_end_of_a_forked_child() -> None:
    """A child that ends as a program does frees nothing that waits for the parent's threads."""
    program = """
import os, sys
import numpy as np
import alphacut
remover = alphacut.Remover()
photo = np.zeros((40, 40, 3), "uint8")
remover(photo)
child = os.fork()
if child == 0:
    del remover
    alphacut.remove(photo)
    sys.exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
