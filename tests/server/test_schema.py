"""What /openapi.json promises, tried by schemathesis against a live service."""

import subprocess
import sys
from pathlib import Path

import pytest
from live import KEY, Live


@pytest.mark.slow
def test_every_answer_is_documented(live: Live, tmp_path: Path) -> None:
    checks = "not_a_server_error,status_code_conformance,content_type_conformance," \
             "response_schema_conformance"  # fmt: skip
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{live.address}/openapi.json",
        "--checks", checks, "--max-examples", "10", "--seed", "1",
        "--phases", "examples,coverage,fuzzing",
        "--header", f"X-Api-Key: {KEY}", "--request-timeout", "20", "--workers", "1",
        "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
