"""Forked children of a process that has cut out already: libraries' threads stay in the parent."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

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


def needs(runtime: str) -> None:
    library = {"onnx": "onnxruntime"}.get(runtime, runtime)
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_a_forked_child_cuts_out_as_its_parent_does(runtime: str) -> None:
    needs(runtime)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, runtime], capture_output=True, text=True, timeout=110
    )
    difference, status = done.stdout.split()
    assert (float(difference) < 1e-4, status) == (True, "0"), done.stderr


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_the_end_of_a_forked_child(runtime: str, kept: bool) -> None:
    """A child that ends as a program does frees nothing that waits for the parent's threads."""
    needs(runtime)
    program = f"""
import os, sys
import numpy as np
import alphacut
remover = alphacut.Remover(runtime={runtime!r})
photo = np.zeros((40, 40, 3), "uint8")
remover(photo)
child = os.fork()
if child == 0:
    if not {kept}:
        del remover
    alphacut.remove(photo, runtime={runtime!r})
    sys.exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""
    environment = {n: v for n, v in os.environ.items() if n != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=90, capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_a_forked_child_ends_though_other_threads_took_the_place_of_its_parents() -> None:
    """The system gives the memory of the parent's threads, and so their names, to the child's."""
    program = """
import os, sys, threading
import numpy as np
import alphacut
photo = np.zeros((40, 40, 3), "uint8")
alphacut.remove(photo)
child = os.fork()
if child == 0:
    for _ in range(16):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    alphacut.remove(photo)
    sys.exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=50, capture_output=True)
    assert done.returncode == 0, done.stderr


# --- in other people's programs ------------------------------------------------------------------

GUNICORN = """
import json, os
import alphacut
from alphacut.models import weights

photo = str(weights.ASSETS / "example.jpg")
parent = os.getpid()
expected = float(alphacut.remove(photo, runtime={runtime!r}).alpha.mean())

def application(environ, start_response):
    mean = float(alphacut.remove(photo, runtime={runtime!r}).alpha.mean())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid() != parent, abs(mean - expected)]).encode()]
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def ask(address: str, process: "subprocess.Popen[bytes]") -> bytes:
    """Ask a server until it answers."""
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_gunicorn_with_preload(runtime: str, tmp_path: Path) -> None:
    """The application cuts out as it is imported, in the parent, and then in each worker."""
    pytest.importorskip("gunicorn")
    needs(runtime)
    (tmp_path / "shop.py").write_text(GUNICORN.format(runtime=runtime))
    port, log = free_port(), tmp_path / "log"
    command = [
        sys.executable, "-m", "gunicorn", "--preload", "--workers=2", "--timeout=60",
        f"--bind=127.0.0.1:{port}", "shop:application",
    ]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=file, stdout=file)
    try:
        for _ in range(4):
            forked, difference = json.loads(ask(f"http://127.0.0.1:{port}/", process))
            assert forked
            assert difference < 1e-4
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    for sign in ("terminate called", "SIGABRT", "Traceback", "WORKER TIMEOUT", "was sent SIGKILL"):
        assert sign not in log.read_text(), log.read_text()


CELERY = """
import os
import celery
import alphacut
from alphacut.models import weights

photo = str(weights.ASSETS / "example.jpg")
parent = os.getpid()
expected = float(alphacut.remove(photo, runtime={runtime!r}).alpha.mean())
app = celery.Celery("shop", broker="filesystem://", backend="file://{folder}/results")
app.conf.broker_transport_options = {{
    "data_folder_in": "{folder}/queue", "data_folder_out": "{folder}/queue",
    "control_folder": "{folder}/control",
}}

@app.task
def cut_out():
    mean = float(alphacut.remove(photo, runtime={runtime!r}).alpha.mean())
    return [os.getpid() != parent, abs(mean - expected)]

@app.task
def malformed():
    alphacut.remove(photo, margin="5pct")
"""
CALL = """
import shop
for job in [shop.cut_out.delay() for _ in range(3)]:
    forked, difference = job.get(timeout=80)
    assert forked and difference < 1e-4, (forked, difference)
try:
    shop.malformed.delay().get(timeout=80)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_celery_with_prefork(runtime: str, tmp_path: Path) -> None:
    """The parent cuts out as it imports the tasks; its forked workers do, too, and tell errors."""
    pytest.importorskip("celery")
    needs(runtime)
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "shop.py").write_text(CELERY.format(runtime=runtime, folder=tmp_path))
    log = tmp_path / "log"
    command = [
        sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool=prefork",
        "--concurrency=2", "--without-gossip", "--without-mingle", "--loglevel=INFO",
    ]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=file, stdout=file)
    try:
        done = subprocess.run(
            [sys.executable, "-c", CALL], cwd=tmp_path, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr + log.read_text()
        assert done.stdout.startswith("OptionError margin '5pct'"), done.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    for sign in ("terminate called", "SIGABRT", "signal 6", "WorkerLostError"):
        assert sign not in log.read_text(), log.read_text()
