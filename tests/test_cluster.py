"""The tests of `cluster` and `alphacut batch`, in a process of their own.

Ray's threads and children outlive its shutdown, and must not meet those of other tests.
"""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["cluster_apart.py", "cli_batch_apart.py"])
def test_apart(name: str) -> None:
    folder = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", str(folder / name), "-q"]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "[100%]" in done.stdout
