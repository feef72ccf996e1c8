"""The page in a real browser. Screenshots of every state go to .screens/."""

import io
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import playwright.sync_api
import pytest
from numpy.typing import NDArray

from proxy import strips_prefix

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCREENS = ROOT / ".screens"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--no-default-browser-check",
]  # fmt: skip
WAIT_MS = 90_000  # generous: nothing here measures time

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome is on the PATH"),
    pytest.mark.timeout(300),
]


class Server:
    """`alphacut demo`, or another command that shows the page, in a process of its own."""

    def __init__(self, log: Path, *command: str) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "alphacut", *command, "--port", "0"],
                stderr=file, stdout=file,
            )  # fmt: skip
        end = time.monotonic() + 90
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        self.address = found[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    twin = ROOT / "src" / "alphacut" / "assets" / "u2net-lite.onnx"
    add = ["models", "add", str(twin), "--name", "twin", "--arch", "u2netp"]
    subprocess.run([sys.executable, "-m", "alphacut", *add], check=True, capture_output=True)
    log = tmp_path_factory.mktemp("demo") / "log"
    running = Server(log, "demo", "--no-browser", "--max-body", "3MB", "--max-megapixels", "5")
    yield running
    assert running.stop() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


class Visitor:
    """Someone at a browser, who can reach the page's host and no other."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.outside: list[str] = []
        self.asked = 0  # how often the page asked for work
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        elsewhere = re.compile(rf"^(?!{re.escape(address)}|data:|blob:)")
        page.context.route(elsewhere, lambda route: route.abort())
        page.on("request", lambda request: elsewhere.match(request.url)
                and self.outside.append(request.url))  # fmt: skip
        page.on("request", self._count)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._console)
        self.open()

    def open(self) -> None:
        self.page.goto(self.address)
        self.page.wait_for_selector("#photo input[type=file]", state="attached")

    def _count(self, request: Any) -> None:
        self.asked += "/queue/join" in request.url

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def upload(self, *paths: Path | str, at: str = "#photo") -> None:
        files = [str(path) for path in paths]
        self.page.set_input_files(f"{at} input[type=file]", files)

    @property
    def stamp(self) -> str | None:
        viewer = self.page.query_selector(".viewer")
        return viewer.get_attribute("data-shown") if viewer else None

    @contextmanager
    def waits_for_result(self) -> Iterator[None]:
        """Do something, and wait until the picture is shown anew."""
        before = self.stamp
        yield
        self.page.wait_for_function(
            "(before) => ![undefined, before].includes("
            "document.querySelector('.viewer')?.dataset.shown)",
            arg=before,
        )

    def cut_out(self, path: Path | str = EXAMPLES / "astronaut.png") -> None:
        with self.waits_for_result():
            self.upload(path)
        self.page.wait_for_selector(".viewer .slider", state="visible")

    def shown(self, which: str = "after") -> NDArray[np.uint8]:
        """The picture that is shown, (H, W, 4)."""
        source = self.page.get_attribute(f".viewer .{which}", "src")
        data = self.page.request.get(urllib.parse.urljoin(self.address, source)).body()
        return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGBA"))

    def choose(self, label: str, group: str = "") -> None:
        where = self.page.get_by_role("group", name=group) if group else self.page
        where.get_by_label(label, exact=True).check()

    def download(self, click: str) -> tuple[str, bytes]:
        with self.page.expect_download() as downloading:
            self.page.get_by_text(click, exact=True).click()
        file = downloading.value
        return file.suggested_filename, Path(file.path()).read_bytes()

    def photograph(self, name: str, *, whole: bool = True) -> None:
        SCREENS.mkdir(exist_ok=True)
        self.page.wait_for_function("[...document.images].every((image) => image.complete)")
        self.page.wait_for_timeout(300)  # until what moves has come to rest
        self.page.screenshot(path=SCREENS / f"{name}.png", full_page=whole)

    def wide(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Visit]:
    """Open the page: by default at 1440 px, in light colours."""
    contexts, visitors = [], []

    def begin(width: int = 1440, scheme: str = "light", address: str | None = None) -> Visitor:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        visitors.append(Visitor(context.new_page(), address or server.address))
        return visitors[-1]

    yield begin
    for context in contexts:
        context.close()
    for visitor in visitors:
        assert visitor.outside == []
        assert visitor.complaints == []


def test_a_photograph_becomes_a_cutout(visit: Visit) -> None:
    visitor = visit()
    visitor.photograph("start-1440")
    assert visitor.page.title() == "alphacut: remove the background of pictures"
    visitor.cut_out()
    result, photo = visitor.shown(), visitor.shown("before")
    assert result.shape == photo.shape == (512, 512, 4)
    assert result[110, 220, 3] > 250  # the face
    assert result[40, 480, 3] < 5  # the wall
    original = np.asarray(PIL.Image.open(EXAMPLES / "astronaut.png").convert("RGB"), np.int16)
    assert np.abs(photo[..., :3] - original).mean() < 3
    visitor.page.get_by_text("512 x 512 pixels").click()
    times = visitor.page.inner_text("#status table")
    assert re.search(r"Network\s+\d+ ms", times)
    assert re.search(r"Edges\s+\d+ ms", times)
    visitor.photograph("result-1440")


def test_the_slider_moves(visit: Visit) -> None:
    visitor = visit()
    visitor.cut_out()
    box = visitor.page.query_selector(".viewer .stage").bounding_box()
    slider = visitor.page.query_selector(".viewer .slider")

    def line() -> float:
        moved = visitor.page.query_selector(".viewer .line").bounding_box()
        return float((moved["x"] + moved["width"] / 2 - box["x"]) / box["width"])

    assert line() == pytest.approx(0.5, abs=0.02)
    visitor.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 200)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 200, steps=5)
    visitor.page.mouse.up()
    assert line() == pytest.approx(0.25, abs=0.05)
    slider.focus()
    visitor.page.keyboard.press("End")
    assert line() == pytest.approx(1, abs=0.02)


def test_backgrounds(visit: Visit) -> None:
    visitor = visit()
    visitor.cut_out()
    plain = visitor.shown()
    with visitor.waits_for_result():
        visitor.page.get_by_label("Picture", exact=True).check()
    assert np.array_equal(visitor.shown(), plain)  # until one is chosen
    with visitor.waits_for_result():
        visitor.upload(EXAMPLES / "coffee.png", at="#background-picture")
    composed = visitor.shown()
    assert (composed[..., 3] == 255).all()
    assert np.abs(composed[60, 480, :3] - plain[60, 480, :3].astype(int)).max() > 20
    assert np.array_equal(composed[110, 220], plain[110, 220])  # the face stays
    visitor.photograph("background-picture-1440")
    with visitor.waits_for_result():
        visitor.page.get_by_label("Colour", exact=True).check()
    assert (visitor.shown()[40, 480] == 255).all()
    with visitor.waits_for_result():
        visitor.page.get_by_label("Blur", exact=True).check()
    assert (visitor.shown()[..., 3] == 255).all()


def test_views(visit: Visit) -> None:
    visitor = visit()
    visitor.cut_out()
    for view, levels in (("mask", 20), ("trimap", 3), ("checkerboard", 20)):
        with visitor.waits_for_result():
            visitor.page.select_option(".viewer .view", view)
        shown = visitor.shown()
        assert (shown[..., 3] == 255).all()
        assert (len(np.unique(shown[..., 0])) > levels) == (levels > 3)
    visitor.photograph("checkerboard-1440")


def test_a_stroke_changes_alpha_there_and_can_be_undone(visit: Visit) -> None:
    visitor = visit()
    visitor.cut_out()
    plain = visitor.shown()
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Touch up").click()
    paper = visitor.page.query_selector(".viewer .paper")

    def paint(*points: tuple[float, float]) -> None:
        box = paper.bounding_box()
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        visitor.page.mouse.move(*at[0])
        visitor.page.mouse.down()
        for point in at[1:]:
            visitor.page.mouse.move(*point, steps=4)
        visitor.photograph("touch-up-1440", whole=False)  # the whole page would be laid out anew
        visitor.page.mouse.up()

    with visitor.waits_for_result():  # over the shuttle
        paint((0.8, 0.2), (0.82, 0.4))
    kept = visitor.shown()
    assert plain[150, 414, 3] < 20
    assert kept[150, 414, 3] == 255
    far = np.s_[:, :200]
    assert np.abs(kept[far].astype(int) - plain[far])[..., 3].mean() < 1
    visitor.page.get_by_label("Remove", exact=True).check()
    with visitor.waits_for_result():  # over the face
        paint((0.43, 0.2), (0.43, 0.25))
    removed = visitor.shown()
    assert removed[115, 220, 3] == 0
    assert removed[150, 414, 3] == 255

    # strokes survive another model, and another view of the page
    visitor.page.get_by_role("button", name="Model").click()
    asked = visitor.asked
    with visitor.waits_for_result():
        visitor.page.get_by_label("Model", exact=True).click()
        visitor.page.get_by_role("option", name="twin").click()
    assert visitor.asked == asked + 1
    other = visitor.shown()
    assert other[115, 220, 3] == 0
    assert other[150, 414, 3] == 255
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Undo").click()
    assert visitor.shown()[115, 220, 3] > 250
    with visitor.waits_for_result():  # the same by keyboard
        paper.focus()
        visitor.page.keyboard.press("Space")
    assert visitor.shown()[256, 256, 3] == 0
    with visitor.waits_for_result():
        visitor.page.keyboard.press("Control+z")
    assert visitor.shown()[256, 256, 3] == 255
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Compare").click()
    visitor.photograph("touched-up-1440")


def test_downloads_are_the_whole_picture(visit: Visit) -> None:
    visitor = visit()
    visitor.cut_out()
    name, data = visitor.download("Download")
    assert name == "astronaut-cutout.png"
    picture = PIL.Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (512, 512))
    assert np.array_equal(np.asarray(picture)[..., 3], visitor.shown()[..., 3])
    visitor.page.get_by_label("WebP", exact=True).locator("visible=true").check()
    name, data = visitor.download("Download")
    assert (name, data[8:12]) == ("astronaut-cutout.webp", b"WEBP")
    visitor.page.get_by_label("JPG", exact=True).locator("visible=true").check()
    name, data = visitor.download("Download")
    assert (name, data[:3]) == ("astronaut-cutout.jpg", b"\xff\xd8\xff")
    corner = np.asarray(PIL.Image.open(io.BytesIO(data)))[40, 480]
    assert corner.min() > 250  # on white


def test_many_pictures(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.page.get_by_role("tab", name="Many pictures").click()
    visitor.photograph("many-start-1440")
    notes = tmp_path / "notes <b>.jpg"
    notes.write_text("milk, bread")
    pictures = [EXAMPLES / f"{name}.png" for name in ("astronaut", "chelsea", "coffee")]
    (tmp_path / "other").mkdir()  # cameras give the same names again
    again = shutil.copy(EXAMPLES / "coffee.png", tmp_path / "other" / "astronaut.png")
    visitor.upload(*pictures, again, notes, at="#photos")
    visitor.page.get_by_text("notes").first.wait_for()
    visitor.page.get_by_role("button", name="Remove the backgrounds").click()
    visitor.page.get_by_text("4 of 5 done. 1 failed").wait_for()
    assert "is not a picture" in visitor.page.inner_text("#many-done [role=alert]")
    assert visitor.page.locator("#many-done li").count() == 4
    visitor.photograph("many-1440")
    name, data = visitor.download("Download all as zip")
    assert name == "cutouts.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = ["astronaut-2.png", "astronaut.png", "chelsea.png", "coffee.png"]
        assert sorted(archive.namelist()) == names
        with archive.open("astronaut.png") as file:
            assert PIL.Image.open(file).mode == "RGBA"


def test_many_pictures_can_be_cancelled(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.page.get_by_role("tab", name="Many pictures").click()
    for index in range(40):  # many enough for a quick machine to be still at it
        PIL.Image.open(EXAMPLES / "coffee.png").resize((1500, 1000)).save(tmp_path / f"{index}.jpg")
    visitor.upload(*sorted(tmp_path.glob("*.jpg")), at="#photos")
    visitor.page.wait_for_function("document.querySelectorAll('#photos tr').length == 40")
    visitor.page.get_by_role("button", name="Remove the backgrounds").click()
    visitor.page.get_by_text("s left").wait_for()
    # by the keyboard: a click first waits until nothing moves, and a quick machine is done by then
    visitor.page.get_by_role("button", name="Cancel").press("Enter")
    visitor.page.get_by_text("Cancelled:").wait_for()
    assert 1 <= visitor.page.locator("#many-done li").count() < 40


@pytest.mark.parametrize(
    ("file", "message"),
    [("text", "letter.jpg is not a picture"), ("large", "above the limit of 5"),
     ("cut short", "is damaged or cut short"), ("headless", "is damaged or cut short")],
)  # fmt: skip
def test_a_bad_file_is_told_and_the_page_goes_on(
    visit: Visit, tmp_path: Path, file: str, message: str
) -> None:
    path = tmp_path / "letter.jpg"
    if file == "text":
        path.write_text("Dear Sir or Madam")
    elif file == "large":
        PIL.Image.new("RGB", (3000, 2000)).save(path)
    else:
        content = io.BytesIO()
        PIL.Image.open(EXAMPLES / "coffee.png").convert("RGB").save(content, "JPEG")
        data = content.getvalue()
        path.write_bytes(data[: len(data) // 2 if file == "cut short" else 300])
    visitor = visit()
    visitor.upload(path)
    visitor.page.wait_for_selector("#problem [role=alert]")
    assert message in visitor.page.inner_text("#problem")
    visitor.page.get_by_text("Drop Image Here").wait_for()
    visitor.photograph(f"bad-{file.replace(' ', '-')}-1440")
    visitor.cut_out()
    assert visitor.page.inner_text("#problem").strip() == ""


def test_no_foreground_is_told(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    PIL.Image.new("RGB", (300, 200), "grey").save(path)
    visitor = visit()
    visitor.cut_out(path)
    assert "No foreground was found" in visitor.page.inner_text("#problem")
    visitor.photograph("no-foreground-1440")


def test_examples_crop_and_a_new_picture(visit: Visit) -> None:
    visitor = visit()
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="A cat").click()
    assert visitor.shown().shape == (300, 451, 4)
    visitor.page.get_by_role("button", name="Crop, shape and shadow").click()
    with visitor.waits_for_result():
        visitor.page.get_by_label("Crop", exact=True).check()
    cropped, before = visitor.shown(), visitor.shown("before")
    assert cropped.shape == before.shape != (300, 451, 4)
    visitor.photograph("settings-1440")
    visitor.page.get_by_role("button", name="New picture").click()
    visitor.page.wait_for_selector("#examples", state="visible")
    visitor.cut_out()
    assert visitor.shown().shape[2] == 4


def test_what_a_visitor_leaves_is_deleted(visit: Visit) -> None:
    visitor = visit()
    visitor.cut_out()
    source = visitor.page.get_attribute(".viewer .after", "src")
    result = Path(urllib.parse.unquote(source.partition("file=")[2]))
    folder = result.parents[1]
    assert result.exists()
    assert folder.stat().st_mode & 0o077 == 0
    visitor.page.reload()
    visitor.page.wait_for_selector("#photo input[type=file]", state="attached")
    assert visitor.page.query_selector(".viewer .slider:visible") is None
    end = time.monotonic() + 60
    while any(folder.rglob("*.png")):
        assert time.monotonic() < end, list(folder.rglob("*.png"))
        time.sleep(0.1)
    visitor.cut_out()


def test_two_at_once(visit: Visit) -> None:
    first, second = visit(), visit()
    first.upload(EXAMPLES / "chelsea.png")
    second.upload(EXAMPLES / "coffee.png")
    for visitor, shape in ((first, (300, 451)), (second, (400, 600))):
        visitor.page.wait_for_selector(".viewer[data-shown]", state="attached")
        assert visitor.shown().shape[:2] == shape


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(visit: Visit, scheme: str) -> None:
    visitor = visit(width=390, scheme=scheme)
    assert visitor.wide() <= 390
    visitor.photograph(f"start-390-{scheme}")
    visitor.cut_out()
    assert visitor.wide() <= 390
    visitor.photograph(f"result-390-{scheme}")
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Touch up").click()
    assert visitor.wide() <= 390
    visitor.photograph(f"touch-up-390-{scheme}")


def test_dark(visit: Visit) -> None:
    visitor = visit(scheme="dark")
    visitor.photograph("start-1440-dark")
    visitor.cut_out()
    visitor.photograph("result-1440-dark")
    colour = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 80


def test_beside_the_service(visit: Visit, tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("serve") / "log"
    service = Server(log, "serve", "--demo", "--workers", "1", "--log", "json")
    try:
        visitor = visit(address=service.address)
        visitor.cut_out()
        assert visitor.shown()[110, 220, 3] > 250
        with visitor.waits_for_result():
            visitor.page.get_by_label("Blur", exact=True).check()
        assert (visitor.shown()[..., 3] == 255).all()
        with visitor.waits_for_result():
            visitor.page.select_option(".viewer .view", "trimap")
        assert len(np.unique(visitor.shown()[..., 0])) == 3
        assert visitor.page.request.get(service.address + "/health").ok
        answer = visitor.page.request.post(service.address + "/v1.0/removebg")
        assert answer.json()["errors"]
    finally:
        assert service.stop() == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("command", [("demo", "--no-browser"), ("serve", "--demo", "--workers=1")])
def test_behind_a_proxy_that_strips_a_prefix(
    command: tuple[str, ...], visit: Visit, tmp_path: Path
) -> None:
    behind = Server(tmp_path / "log", *command, "--root-path", "/cut")
    host = behind.address.removeprefix("http://")
    try:
        with strips_prefix(host, "/cut") as address:
            visitor = visit(address=f"{address}/")  # all that it asks for begins with this
            with visitor.waits_for_result():
                visitor.page.click("#examples button[data-name='cat.jpg']")
            assert visitor.shown().shape[2] == 4
            visitor.page.get_by_role("button", name="New picture").click()
            visitor.cut_out()
            assert visitor.shown()[110, 220, 3] > 250
            name, data = visitor.download("Download")
            assert (name, PIL.Image.open(io.BytesIO(data)).mode) == ("astronaut-cutout.png", "RGBA")
            visitor.page.get_by_role("tab", name="Many pictures").click()
            visitor.upload(EXAMPLES / "chelsea.png", at="#photos")
            visitor.page.get_by_text("Remove the backgrounds").click()
            visitor.page.wait_for_selector("#many-done .grid img")
            name, data = visitor.download("Download all as zip")
            assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["chelsea.png"]
            for image in visitor.page.query_selector_all("img[src]"):
                assert visitor.page.request.get(image.evaluate("image => image.src")).ok
    finally:
        behind.stop()
    assert "Traceback" not in (tmp_path / "log").read_text()
