"""`alphacut batch`: what it says, where, and with which status."""

import csv
import json
import re
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from alphacut.cli import main as cli
from clusters import add_tiny_model, make_pictures

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", autouse=True)
def tiny(home: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    add_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in a folder with 20 pictures below in/, one of them broken."""
    monkeypatch.chdir(tmp_path)
    make_pictures(Path("in"), 20)

    def call(*words: str, model: bool = True) -> tuple[int, str, str]:
        more = ["--model", "tiny"] if model else []
        monkeypatch.setattr(sys, "argv", ["alphacut", "batch", *words, *more])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capfd.readouterr()
        return status, out, err

    return call


def test_a_run_and_its_status(run: Run) -> None:
    status, out, err = run("in", "out")
    assert status == 1
    (line,) = err.splitlines()
    assert line.startswith(f"alphacut: {Path('in').absolute()}/0/00010.png: ")
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert (facts["done"], facts["failed"], facts["done before"]) == ("19", "1", "0")
    assert Path(facts["manifest"]).is_file()
    assert Path("out/0/00000.jpg.png").is_file()

    status, out, err = run("in", "out", "--json")
    assert (status, err) == (1, "")
    facts = json.loads(out)
    assert (facts["done"], facts["done_before"], facts["given_up_before"]) == (0, 19, 1)

    status, out, err = run("status", "out", model=False)
    assert status == 1
    assert "0/00010.png: " in out
    assert re.search(r"^done +19$", out, re.M)
    status, out, err = run("status", "out", "--json", model=False)
    assert [failure["id"] for failure in json.loads(out)["failures"]] == ["0/00010.png"]

    Path("in/0/00010.png").write_bytes(Path("in/1/00001.png").read_bytes())
    assert run("in", "out", "--quiet") == (0, "", "")
    assert run("status", "out", model=False)[0] == 0


def test_a_report_has_every_picture_whichever_run_did_it(run: Run) -> None:
    assert run("in", "out", "--quiet", "--report", "first.csv")[0] == 1
    assert run("in", "out", "--quiet", "--report", "second.csv")[0] == 1  # nothing left to do
    assert Path("first.csv").read_text() == Path("second.csv").read_text()
    rows = list(csv.DictReader(Path("first.csv").read_text().splitlines()))
    assert len(rows) == 20
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["input"].endswith("0/00010.png")
    assert failed["reason"]
    assert (failed["output"], failed["empty"]) == ("", "")
    done = rows[0]
    assert done["output"].endswith("0/00000.jpg.png")
    assert (done["input_width"], done["input_height"], done["empty"]) == ("128", "96", "false")
    assert 0 <= int(done["left"]) < int(done["right"]) <= 128
    assert 0 <= float(done["doubt"]) <= 1

    assert run("status", "out", "--report", "third.jsonl", model=False)[0] == 1
    third = [json.loads(line) for line in Path("third.jsonl").read_text().splitlines()]
    assert [row["input"] for row in third] == [row["input"] for row in rows]
    assert list(third[0]) == list(rows[0])


def test_a_report_says_how_the_ground_was_known(run: Run) -> None:
    Path("plain").mkdir()
    picture = np.full((96, 128, 3), (20, 60, 120), np.uint8)
    picture[30:70, 40:90] = (250, 40, 30)
    PIL.Image.fromarray(picture).save("plain/a.png")
    words = ("plain", "out", "--ground", "auto", "--quiet", "--report", "report.jsonl")
    assert run(*words) == (0, "", "")
    row = json.loads(Path("report.jsonl").read_text())
    assert row["ground"] == "plain"
    assert 0 < row["ground_sure"] <= 1


def test_a_report_does_not_replace_the_list_of_inputs(run: Run) -> None:
    Path("list.csv").write_text("id,address\na,in/0/00000.jpg\n")
    status, _, err = run("list.csv", "out", "--report", "./list.csv")
    assert status == 2
    assert "--report would replace SOURCE" in err
    assert Path("list.csv").read_text().startswith("id,address\n")


def test_doubtful_pictures_fail_and_are_not_written(run: Run) -> None:
    status, _, err = run("in", "out", "--fail-doubt", "0", "--report", "report.jsonl")
    assert status == 1
    assert "is above 0: nothing is written" in err
    rows = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    for row in rows:
        assert (row["status"] == "failed") == (not row["output"])
        if row["reason"] and "above 0" in row["reason"]:
            assert row["doubt"] > 0
            assert row["input_width"] > 0
    assert len([*Path("out").rglob("*.jpg.png")]) == sum(row["status"] == "done" for row in rows)


def test_nothing_is_written_by_a_dry_run(run: Run) -> None:
    status, out, _ = run("in", "out", "--dry-run", "--json", "--actors", "4", "--price", "36")
    facts = json.loads(out)
    assert status == 0
    assert (facts["pictures"], facts["sampled"], facts["failed_of_these"]) == (20, 20, 1)
    assert facts["core-hours"] == pytest.approx(
        20 * facts["core-seconds_per_picture"] / 3600, abs=1e-3
    )
    assert facts["cost"] == pytest.approx(20 * facts["core-seconds_per_picture"] / 100, abs=0.02)
    assert not Path("out").exists()
    assert run("in", "out", "--dry-run")[1].startswith("pictures ")
    status, _, err = run("in", "out", "--dry-run", "--report", "report.csv")
    assert status == 2
    assert "--report has no rows after --dry-run" in err


def test_progress_where_there_is_no_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphacut.cli.batch._LINE_S", 0.0)
    _, _, err = run("in", "out")
    lines = [line for line in err.splitlines() if line.endswith(" min left")]
    assert len(lines) == 20
    assert lines[-1].startswith("alphacut: 19 done, 1 failed of 20, ")


def test_progress_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    _, _, err = run("in", "out")
    assert "20/20" in err
    assert "1 failed" in err
    assert "0/00010.png: " in err  # stands above the bar
    assert "min left" not in err


def test_metrics(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import prometheus_client

    started = []

    def start(port: int, address: str, registry: object) -> None:
        started.append((prometheus_client.exposition.start_wsgi_server(0, address, registry),
                        address))  # fmt: skip

    monkeypatch.setattr(prometheus_client, "start_http_server", start)
    run("in", "out", "--metrics-port", "9090")
    ((server, thread), address) = started[0]
    assert address == "127.0.0.1"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
        text = answer.read().decode()
    server.shutdown()
    thread.join()
    server.server_close()
    assert 'alphacut_batch_pictures_total{status="done"} 19.0' in text
    assert 'alphacut_batch_pictures_total{status="failed"} 1.0' in text
    assert "alphacut_batch_pending 0.0" in text


def test_a_port_of_metrics_that_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, err = run("in", "out", "--metrics-port", str(taken.getsockname()[1]))
    assert status == 2
    assert "cannot listen on 127.0.0.1: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["none", "out"], 1, "none: cannot be listed"),
        (["in/*.tif", "out"], 1, "no pictures found"),
        (["in", "https://example.org/"], 2, "cannot be written to"),
        (["in", "gopher://x"], 1, "Protocol not known: gopher"),
        (["in", "in"], 2, "would be written among the pictures"),
        (["in/0", "in"], 2, "would be written among the pictures"),
        (["in", "out", "--engine", "spark"], 2, "'spark' is not one of"),
        (["in", "out", "--result", "nothing"], 2, "'nothing' is not one of"),
        (["in"], 2, "Missing argument 'DEST'"),
        (["in", "in/1/00001.png/out"], 1, "/lock.json: cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be(run: Run, words: list[str], status: int, text: str) -> None:
    found, _, err = run(*words)
    assert found == status
    assert text in " ".join(err.split())
    assert "Traceback" not in err


def test_a_destination_without_a_manifest(run: Run) -> None:
    status, _, err = run("status", "out", model=False)
    assert status == 2
    assert "no manifest here" in err


def test_a_folder_that_is_named_like_a_command(run: Run) -> None:
    Path("in").rename("status")
    assert run("./status", "out", "--quiet")[0] == 1
    assert Path("out/0/00000.jpg.png").is_file()
