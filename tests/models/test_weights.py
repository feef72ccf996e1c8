import contextlib
import dataclasses
import errno
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from alphacut.errors import AlphacutWarning, UnknownName, WeightsError
from alphacut.models import catalogue, download, weights
from alphacut.models.entry import Format, ModelSpec, Weights

SPEC = catalogue.MODELS[0]
FILE = SPEC.weights["onnx"]


def test_embedded_file_is_the_entrys() -> None:
    path = weights.fetch(SPEC)
    assert path.stat().st_size == FILE.bytes


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(weights.fetch(SPEC), tmp_path)
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with (tmp_path / FILE.file).open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    with pytest.raises(
        WeightsError, match=r"alphacut-lite\.onnx: damaged \(SHA-256.*: reinstall alphacut"
    ):
        weights.fetch(SPEC)


def test_missing_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(WeightsError, match="are missing: reinstall alphacut"):
        weights.fetch(SPEC)


def test_models_by_name() -> None:
    assert catalogue.known_model("Alphacut_Lite") is weights.find_model("alphacut-lite") is SPEC
    assert catalogue.known_model("u2netp") is weights.find_model("u2net-lite")
    assert catalogue.known_model("rmbg-9") is None
    with pytest.raises(UnknownName, match=r"unknown model 'rmbg-9': choose one of alphacut-lite"):
        weights.find_model("rmbg-9")
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.name = "other"  # type: ignore[misc]


INDEXNET = weights.find_model("indexnet")


def test_a_checkouts_own_weights_are_used(home: Path) -> None:
    path = weights.fetch(INDEXNET)
    assert path.parts[-4:-1] == ("alphacut-indexnet", "src", "alphacut_indexnet")


def test_weights_of_a_package_are_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = weights.fetch(INDEXNET).parent
    monkeypatch.setattr(weights, "ASSETS", tmp_path)  # as an installation from a wheel
    monkeypatch.setenv("ALPHACUT_OFFLINE", "1")
    message = (
        r"indexnet are not installed: in a checkout of alphacut, pip install "
        r"\./packages/alphacut-indexnet, or run alphacut models"
    )
    with pytest.raises(WeightsError, match=message):
        weights.fetch(INDEXNET)
    monkeypatch.syspath_prepend(str(folder.parent))
    assert weights.fetch(INDEXNET) == folder / "indexnet.onnx"


def test_the_package_holds_what_it_says() -> None:
    folder = weights.fetch(INDEXNET).parent
    package = folder.parents[1]
    project = (package / "pyproject.toml").read_text(encoding="utf-8")
    assert f'name = "{package.name}"' in project
    assert f'packages = ["src/{folder.name}"]' in project
    assert {path.name for path in folder.glob("*.onnx")} == {
        weight.file for weight in INDEXNET.weights.values()
    }
    assert (package / "LICENSE").read_bytes() == (package.parents[1] / "LICENSE").read_bytes()


# --- under fire: a server on this machine that behaves as it is told ---------------------------

DATA = np.random.default_rng(3).bytes(300_000)
Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives DATA in the way that the test wants for this request."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Range")))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with contextlib.suppress(ConnectionError):
            answer(self)

    def give(self, data: bytes = DATA, *, cut: int | None = None, ranges: bool = True) -> None:
        """Give data, honouring a range, and no more than `cut` bytes of what is promised."""
        asked = self.headers.get("Range") if ranges else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[start:][:cut])

    def trickle(self, pieces: int, pause_s: float) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        step = len(DATA) // pieces + 1
        for start in range(0, len(DATA), step):
            self.wfile.write(DATA[start : start + step])
            self.wfile.flush()
            time.sleep(pause_s)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []
        self.answers: list[Answer] = [lambda handler: handler.give()]
        self.address = f"http://127.0.0.1:{self.server_port}"

    def spec(self, **facts: object) -> ModelSpec:
        """An entry whose weights are DATA on this server."""
        file = Weights(
            file="net.onnx",
            bytes=len(DATA),
            sha256=hashlib.sha256(DATA).hexdigest(),
            urls=(f"{self.address}/net.onnx",),
        )
        file = dataclasses.replace(file, **facts)  # type: ignore[arg-type]
        return dataclasses.replace(SPEC, name="net", aliases=(), weights={"onnx": file})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith("ALPHACUT_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    return tmp_path / "home"


def files(home: Path) -> list[str]:
    folder = home / "weights"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def part(home: Path, data: bytes) -> Path:
    """What an earlier run has left."""
    path = home / "weights" / "net.onnx.part"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_a_file_is_fetched_once(server: Server, home: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = weights.fetch(server.spec(), progress=lambda *facts: told.append(facts))
    assert path == home / "weights" / "net.onnx"
    assert path.read_bytes() == DATA
    assert told[-1] == ("net.onnx", len(DATA), len(DATA))
    assert weights.fetch(server.spec()) == path
    assert server.seen == [("/net.onnx", None)]
    assert files(home) == ["net.onnx"]


def test_a_truncated_body_is_completed(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.give(cut=100_000), lambda h: h.give()]
    assert weights.fetch(server.spec()).read_bytes() == DATA
    assert server.seen[1] == ("/net.onnx", "bytes=100000-")


def test_a_connection_dropped_twice(server: Server, home: Path) -> None:
    server.answers = [lambda h: None, lambda h: h.give(cut=7), lambda h: h.give()]
    assert weights.fetch(server.spec()).read_bytes() == DATA
    assert len(server.seen) == 3


def test_a_body_that_is_always_truncated(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.give(cut=1000, ranges=False)]
    with pytest.raises(
        WeightsError, match=r"cannot download the weights of net: .*1000 of 300000 bytes.*kept"
    ):
        weights.fetch(server.spec())
    assert files(home) == ["net.onnx.part"]
    server.answers = [lambda h: h.give()]  # the next run resumes it
    assert weights.fetch(server.spec()).read_bytes() == DATA
    assert server.seen[-1][1] == "bytes=1000-"


def test_a_wrong_file_leaves_nothing(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.give(bytes(len(DATA)))]
    with pytest.raises(WeightsError, match=r"wrong file \(SHA-256 .*, expected"):
        weights.fetch(server.spec())
    assert files(home) == []
    assert len(server.seen) == 1


def test_a_page_instead_of_the_file(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.give(b"<html>too many visitors</html>")]
    with pytest.raises(WeightsError, match="has 30 bytes, expected 300000"):
        weights.fetch(server.spec())
    with pytest.raises(WeightsError, match="wrong file"):
        weights.fetch(server.spec(bytes=None))
    assert files(home) == []


def test_more_than_was_promised(server: Server, home: Path) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(DATA + b"more")

    server.answers = [endless]
    with pytest.raises(WeightsError, match="sends more than the expected 300000 bytes"):
        weights.fetch(server.spec())
    assert files(home) == []


ROWS = [(spec, form) for spec in catalogue.MODELS for form, file in spec.weights.items()
        if file.urls]  # fmt: skip


@pytest.mark.parametrize(("row", "form"), ROWS, ids=lambda x: getattr(x, "name", x))
def test_every_row_is_pulled_resumed_and_checked(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch, row: ModelSpec, form: Format
) -> None:
    """Each row's own addresses, file name and terms; a small file stands in for its gigabyte."""
    file = row.weights[form]
    assert file.bytes
    assert file.sha256
    small = dataclasses.replace(
        file, bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest(),
        urls=tuple(server.address + urllib.parse.urlparse(url).path for url in file.urls),
    )  # fmt: skip
    spec = dataclasses.replace(row, weights={form: small})
    if row.commercial != "yes":
        with pytest.raises(WeightsError, match="--accept-license"):
            weights.fetch(spec, form)
    fetch = functools.partial(weights.fetch, spec, form, accept_license=row.commercial != "yes")
    server.answers = [lambda h: h.give(bytes(len(DATA)))]  # tampered with
    with pytest.raises(WeightsError, match=r"wrong file \(SHA-256"):
        fetch()
    server.answers = [lambda h: h.give(DATA[:-1])]
    with pytest.raises(WeightsError, match="has 299999 bytes, expected 300000"):
        fetch()
    assert files(home) == []
    server.answers = [lambda h: h.give(cut=100_000), lambda h: h.give()]
    path = fetch()
    assert path.read_bytes() == DATA
    assert files(home) == [file.file]
    assert server.seen[-1] == (urllib.parse.urlparse(file.urls[0]).path, "bytes=100000-")
    monkeypatch.setenv("ALPHACUT_OFFLINE", "1")
    path.write_bytes(DATA[:-1] + b"x")
    with pytest.warns(AlphacutWarning, match="damaged"), pytest.raises(WeightsError):
        fetch()


def test_a_file_of_which_only_md5_is_published(home: Path, tmp_path: Path) -> None:
    row = dataclasses.replace(
        SPEC,
        name="mine",
        weights={"torch": Weights(file="a.pth", md5=hashlib.md5(DATA).hexdigest())},
    )
    with unittest.mock.patch.object(catalogue, "MODELS", (*catalogue.MODELS, row)):
        (tmp_path / "a.pth").write_bytes(DATA)
        (tmp_path / "b.pth").write_bytes(DATA + b"x")
        with pytest.raises(WeightsError, match=r"b\.pth: not the torch file of mine \(MD5 "):
            weights.add(tmp_path / "b.pth", row, "torch")
        added = weights.add(tmp_path / "a.pth", row, "torch")
    assert weights.fetch(added, "torch").read_bytes() == DATA


def test_404_is_not_asked_again_but_the_next_address_is(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.send_error(404)]
    with pytest.raises(WeightsError, match=r"HTTP 404 Not Found.*ALPHACUT_MIRROR"):
        weights.fetch(server.spec())
    assert len(server.seen) == 1
    server.answers = [lambda h: h.send_error(404), lambda h: h.give()]
    two = (f"{server.address}/gone?id=1", f"{server.address}/net")
    assert weights.fetch(server.spec(urls=two)).read_bytes() == DATA
    assert [path for path, _ in server.seen[1:]] == ["/gone?id=1", "/net"]


def test_a_busy_server_is_asked_again(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.send_error(503), lambda h: h.send_error(429), lambda h: h.give()]
    assert weights.fetch(server.spec()).read_bytes() == DATA


def test_a_server_without_ranges(server: Server, home: Path) -> None:
    part(home, DATA[:5000])
    server.answers = [lambda h: h.give(ranges=False)]
    assert weights.fetch(server.spec()).read_bytes() == DATA


@pytest.mark.parametrize("left", [b"other" * 100, bytes(len(DATA)), bytes(len(DATA) + 9)])
def test_what_an_earlier_run_left_of_another_file(server: Server, home: Path, left: bytes) -> None:
    part(home, left)
    assert weights.fetch(server.spec()).read_bytes() == DATA
    assert files(home) == ["net.onnx"]


def test_a_whole_part_needs_no_server(server: Server, home: Path) -> None:
    part(home, DATA)
    assert weights.fetch(server.spec()).read_bytes() == DATA
    assert server.seen == []


def test_a_slow_server(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.5)
    server.answers = [lambda h: h.trickle(10, 0.1)]  # longer in all than the limit of silence
    assert weights.fetch(server.spec()).read_bytes() == DATA


def test_a_silent_server(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    server.answers = [lambda h: time.sleep(0.3)]
    with pytest.raises(WeightsError, match="timed out"):
        weights.fetch(server.spec())
    assert files(home) == []


def test_nobody_listens(home: Path) -> None:
    with Server() as server:
        spec = server.spec()
    with pytest.raises(WeightsError, match=r"cannot download the weights of net: .*refused"):
        weights.fetch(spec)


FETCH = """
import hashlib, sys
from alphacut.models import catalogue, download, weights
from alphacut.models.entry import Weights
import dataclasses
url, size, checksum = sys.argv[1:]
file = Weights(file="net.onnx", bytes=int(size), sha256=checksum, urls=(url,))
spec = dataclasses.replace(catalogue.MODELS[0], name="net", aliases=(), weights={"onnx": file})
download.PAUSE_S = 0.01
print(weights.fetch(spec))
"""


def start_fetching(server: Server, before: str = "") -> "subprocess.Popen[str]":
    file = server.spec().weights["onnx"]
    facts = [file.urls[0], str(file.bytes), str(file.sha256)]
    return subprocess.Popen(
        [sys.executable, "-c", before + FETCH, *facts],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_killed_process_is_continued(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.trickle(30, 0.1), lambda h: h.give()]
    with start_fetching(server) as process:
        part = home / "weights" / "net.onnx.part"
        while not (part.exists() and part.stat().st_size > 20_000):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert files(home) == ["net.onnx.part"]
    came = part.stat().st_size
    assert weights.fetch(server.spec()).read_bytes() == DATA
    assert server.seen[-1] == ("/net.onnx", f"bytes={came}-")


def test_two_processes_fetch_once(server: Server, home: Path) -> None:
    server.answers = [lambda h: h.trickle(10, 0.1)]
    with start_fetching(server) as one, start_fetching(server) as two:
        printed = {process.communicate()[0].strip() for process in (one, two)}
    assert printed == {str(home / "weights" / "net.onnx")}
    assert len(server.seen) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes cannot be limited there")
def test_a_full_disk(server: Server, home: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    with start_fetching(server, before=limit) as process:
        _, errors = process.communicate()
    assert "WeightsError" in errors
    assert "File too large: free some space. ALPHACUT_HOME can name another folder" in errors
    assert files(home) == []


def test_a_disk_that_is_too_small_is_noticed_before(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(home.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(WeightsError, match=r"0 MB free, 0 MB needed: free some space"):
        weights.fetch(server.spec())
    assert server.seen == []


def test_a_folder_that_cannot_be_written(server: Server, home: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match=r"cannot be written: .*\. ALPHACUT_HOME can name"):
        weights.fetch(server.spec())
    assert server.seen == []
    assert home.read_text() == "a file where the folder should be"


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """The superuser may write anywhere; other users stay who they are."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not protected like this there")
def test_a_read_only_folder(server: Server, home: Path) -> None:
    home.mkdir(mode=0o500)
    with as_nobody():
        with pytest.raises(WeightsError, match="cannot be written: Permission denied"):
            weights.fetch(server.spec())
        assert weights.find_model("alphacut-lite") is SPEC
    assert server.seen == []
    assert list(home.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not protected like this there")
@pytest.mark.timeout(30)  # what is refused must not be waited for
@pytest.mark.parametrize("there", [False, True])
def test_a_lock_that_may_not_be_written(
    server: Server, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # which others may enter, unlike pytest's own
        Path(folder).chmod(0o755)
        monkeypatch.setenv("ALPHACUT_HOME", folder)
        locks = Path(folder) / "locks"
        locks.mkdir()
        if there:
            (locks / "net.onnx").touch(mode=0o444)
        locks.chmod(0o555)
        message = r"locks/net\.onnx: cannot be written: Permission denied\. ALPHACUT_HOME"
        with as_nobody(), pytest.raises(WeightsError, match=message):
            weights.fetch(server.spec())
        locks.chmod(0o755)
    assert server.seen == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
@pytest.mark.timeout(30)
def test_a_file_system_without_locks(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """filelock before 3.32.7 waited for ever: NFS without its lock daemon answers like this."""
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(WeightsError, match=r"net\.onnx: cannot be written: No locks available"):
        weights.fetch(server.spec())
    assert server.seen == []


def test_weights_in_a_read_only_folder_are_used(server: Server, home: Path) -> None:
    path = weights.fetch(server.spec())
    shutil.rmtree(home / "locks")
    (home / "locks").write_text("nothing can be locked here")
    assert weights.fetch(server.spec()) == path


def test_damaged_weights_are_fetched_again(server: Server, home: Path) -> None:
    path = weights.fetch(server.spec())
    facts = path.stat()
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # length and time tell nothing
    with pytest.warns(AlphacutWarning, match="damaged"):
        assert weights.fetch(server.spec()).read_bytes() == DATA
    path.write_bytes(b"")
    server.answers = [lambda h: h.send_error(404)]
    with pytest.warns(AlphacutWarning, match="damaged"), pytest.raises(WeightsError):
        weights.fetch(server.spec())
    assert files(home) == ["net.onnx"]


def test_terms_come_before_the_first_byte(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(
        server.spec(), commercial="no", license="not for sale", note="Ask Ann."
    )
    with pytest.raises(WeightsError, match=r"not for sale.*not allowed. Ask Ann.*--accept-license"):
        weights.fetch(spec)
    monkeypatch.setenv("ALPHACUT_ACCEPT_LICENSE", "other")
    with pytest.raises(WeightsError, match="ALPHACUT_ACCEPT_LICENSE=net"):
        weights.fetch(spec)
    assert server.seen == []
    monkeypatch.setenv("ALPHACUT_ACCEPT_LICENSE", "other,net")
    weights.fetch(spec)
    weights.remove(spec)
    monkeypatch.delenv("ALPHACUT_ACCEPT_LICENSE")
    assert weights.fetch(spec, accept_license=True).read_bytes() == DATA


def test_without_a_checksum_nothing_is_fetched(server: Server, home: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"no checksum is published: get the file.*models add PATH"
    ):
        weights.fetch(server.spec(sha256=None))
    with pytest.raises(WeightsError, match=r"it has no URL.*models add PATH"):
        weights.fetch(server.spec(urls=()))
    assert server.seen == []


def test_a_mirror_takes_the_place_of_the_address(
    server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = server.spec(urls=("http://127.0.0.1:9/never",))
    monkeypatch.setenv("ALPHACUT_MIRROR", f"{server.address}/models/")
    assert weights.fetch(spec).read_bytes() == DATA
    assert server.seen == [("/models/net.onnx", None)]
    weights.remove(spec)
    (tmp_path / "net.onnx").write_bytes(DATA)
    monkeypatch.setenv("ALPHACUT_MIRROR", str(tmp_path))
    monkeypatch.setenv("ALPHACUT_OFFLINE", "1")  # a folder is no network
    assert weights.fetch(spec).read_bytes() == DATA
    weights.remove(spec)
    (tmp_path / "net.onnx").unlink()
    with pytest.raises(WeightsError, match="No such file"):
        weights.fetch(spec)
    assert len(server.seen) == 1


def test_offline(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHACUT_OFFLINE", "1")
    with pytest.raises(
        WeightsError, match=r"net\.onnx: missing, and ALPHACUT_OFFLINE is set: not down"
    ):
        weights.fetch(server.spec())
    assert server.seen == []
    assert weights.fetch(SPEC).is_file()


def test_proxies_are_honoured(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    spec = server.spec(urls=("http://weights.invalid/net.onnx",))
    assert weights.fetch(spec).read_bytes() == DATA
    assert server.seen == [("http://weights.invalid/net.onnx", None)]


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPHACUT_HOME", raising=False)
    assert weights.home().name == "alphacut"
    assert weights.home().is_absolute()


# --- own weights -------------------------------------------------------------------------------


def own(name: str) -> ModelSpec:
    like = weights.find_model("isnet")
    return dataclasses.replace(like, name=name, aliases=(), weights={}, source="a file")


def test_own_weights_are_a_model(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(DATA)
    added = weights.add(path, own("mine"), "onnx")
    assert weights.find_model("mine") == added
    assert weights.models()[-1] == added
    assert weights.fetch(added).read_bytes() == DATA
    assert weights.fetch(added).name == "mine.onnx"
    assert (added.arch, added.input_size) == ("isnet", (1024, 1024))
    weights.fetch(added).write_bytes(b"")
    with pytest.raises(WeightsError, match=r"damaged.*models add PATH --name mine"):
        weights.fetch(added)
    assert len(weights.remove(added)) == 2
    with pytest.raises(UnknownName, match="unknown model 'mine'"):
        weights.find_model("mine")
    assert path.read_bytes() == DATA


def test_weights_added_again_take_the_place(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(DATA)
    weights.add(path, own("mine"), "onnx")
    other = path.rename(tmp_path / "file.pth")
    added = weights.add(other, own("mine"), "torch")
    assert list(added.weights) == ["torch"]
    assert weights.find_model("mine") == added
    assert files(home) == ["mine.pth"]


def test_a_known_entry_takes_only_its_own_file(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(DATA)
    with pytest.raises(WeightsError, match="not the onnx file of isnet"):
        weights.add(path, weights.find_model("isnet"), "onnx")
    assert files(home) == []
    indexnet = weights.find_model("indexnet-adobe")  # no checksum is published
    added = weights.add(path, indexnet, "torch")
    assert added.weights["torch"].sha256 == hashlib.sha256(DATA).hexdigest()
    assert weights.find_model("indexnet_matting") == added
    assert weights.fetch(added, "torch").name == "indexnet_matting.pth.tar"
    weights.remove(added)
    assert weights.find_model("indexnet-adobe") is indexnet


@pytest.mark.parametrize("name", ["", "../evil", ".hidden", "a/b", "a b", "x" * 65])
def test_names_stay_in_the_folder(home: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(DATA)
    with pytest.raises(WeightsError, match="not a valid model name"):
        weights.add(path, own(name), "onnx")
    with pytest.raises(UnknownName):
        weights.find_model(name)


def test_a_damaged_entry_does_not_stop_the_others(home: Path) -> None:
    path = home / "models" / "broken.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"like": "isnet", "colour": "red"}')
    with pytest.raises(WeightsError, match="unreadable model entry"):
        weights.find_model("broken")
    assert weights.find_model("alphacut-lite") is SPEC
    with pytest.warns(AlphacutWarning, match="unreadable model entry"):
        assert weights.models() == catalogue.MODELS


def test_the_package_keeps_its_own(home: Path) -> None:
    with pytest.raises(WeightsError, match="is part of the package"):
        weights.remove(SPEC)
