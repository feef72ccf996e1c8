"""What a visitor is shown, several requests of theirs being worked on at once included."""

import asyncio
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest

from alphacut import Cutout, Options
from alphacut.demo import text
from alphacut.demo.engine import EncodedResult
from alphacut.demo.page import Page, Session, result_names
from alphacut.demo.uploads import Uploads
from alphacut.errors import ImageError
from alphacut.models import catalogue
from alphacut.pipeline.strokes import Stroke

file = io.BytesIO()
PIL.Image.new("RGB", (1, 1)).save(file, "PNG")
PIXEL = file.getvalue()
VISITOR: Any = SimpleNamespace(session_hash="me")


class Slow:
    """An engine that does nothing, and waits where the picture is to have a drop shadow."""

    models = (catalogue.MODELS[0],)
    absent = ()
    runtimes = ("openvino",)
    threads = 2

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.painted: list[int] = []

    def devices(self, runtime: str) -> tuple[str, ...]:
        return ("auto",)

    def __call__(
        self, image: bytes, options: Options, strokes: tuple[Stroke, ...] = ()
    ) -> EncodedResult:
        if options.shadow == "drop":
            self.begun.set()
            assert self.go_on.wait(60)
        self.painted.append(len(strokes))
        return EncodedResult("png", PIXEL, False, 0.0, (1, 1), {})


@pytest.fixture
def page() -> Iterator[Page]:
    uploads, engine = Uploads(), Slow()

    async def build() -> Page:  # in a loop, or Gradio makes some and leaves them open
        return Page(engine, Options(model=engine.models[0].name), uploads)

    yield asyncio.run(build())
    engine.go_on.set()
    uploads.close()


@pytest.fixture
def session(page: Page) -> Session:
    made = Session()
    begin(page, made)
    return made


def begin(page: Page, session: Session) -> list[Any]:
    return page._take_example(SimpleNamespace(name="cat.jpg"), VISITOR, session, *form(page))


def form(page: Page, **changes: Any) -> list[Any]:
    return [changes.get(name, widget.value) for name, widget in page.form.items()]


def look(session: Session, version: int) -> Any:
    """The viewer's event when a stroke was painted, the first being version 1."""
    assert session.photo
    stroke = {"label": "keep", "radius": 0.1, "points": [[0.5, 0.5]]}
    return SimpleNamespace(
        photo=session.photo["id"], view="result", painting=False, picking=False, version=version,
        strokes=[stroke] * version, picks=[],
    )  # fmt: skip


def test_settings_that_change_while_a_stroke_is_worked_on_keep_it(
    page: Page, session: Session
) -> None:
    engine: Any = page.engine
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(
            page._look, look(session, 1), VISITOR, session, *form(page, shadow="drop")
        )
        assert engine.begun.wait(60)
        _, changed, _ = page._change(VISITOR, session, *form(page))
        engine.go_on.set()
        _, stroke, _ = slow.result(60)
    assert engine.painted[-2:] == [1, 1]
    assert changed["version"] == stroke["version"] == 1
    assert changed["turn"] > stroke["turn"]  # so the viewer leaves it when the stroke comes after


def test_strokes_that_come_late_are_left(page: Page, session: Session) -> None:
    engine: Any = page.engine
    assert "turn" in page._look(look(session, 2), VISITOR, session, *form(page))[1]
    assert "turn" not in page._look(look(session, 1), VISITOR, session, *form(page))[1]
    page._download(VISITOR, session, "png", *form(page))
    assert engine.painted[-1] == 2


def test_a_new_picture_is_not_replaced_by_the_last_one(page: Page, session: Session) -> None:
    engine: Any = page.engine
    late = look(session, 1)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(page._change, VISITOR, session, *form(page, shadow="drop"))
        assert engine.begun.wait(60)
        page._clear(session)
        *_, viewer, _, _, _ = begin(page, session)
        engine.go_on.set()
        _, overtaken, _ = slow.result(60)
    assert "photo" not in overtaken
    assert "photo" not in page._look(late, VISITOR, session, *form(page))[1]
    assert session.photo
    assert viewer["photo"] == session.photo["id"] != late.photo
    assert session.look["version"] == 0


def test_each_subject_is_a_picture_of_its_own(
    page: Page, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = np.zeros((40, 60), np.float32)
    alpha[5:30, 5:20] = alpha[10:35, 40:55] = 1

    def cut(image: bytes, options: Options, strokes: tuple[Stroke, ...] = ()) -> EncodedResult:
        cutout = Cutout(np.full((40, 60, 3), 90, np.uint8), alpha, alpha)
        return EncodedResult("ora", cutout.to_bytes("ora", options), cutout.empty, 0, (40, 60), {})

    monkeypatch.setattr(page, "engine", cut)
    monkeypatch.setattr(page, "_options", lambda *_: Options(background="red", shadow="drop"))
    shown, problem = page._separate(VISITOR, session, *form(page))
    assert problem == ""
    assert shown.count("<li>") == 2
    assert 'download="cat-cutout-2.png"' in shown
    files = sorted(page.uploads.folder.rglob("cat-cutout-*.png"), key=lambda file: file.name)
    first, second = (np.asarray(PIL.Image.open(file))[..., 3] for file in files)
    assert (first > 0).sum() == (second > 0).sum() == 25 * 15
    assert first[20, 10] == second[20, 50] == 255
    alpha[:] = 0
    shown, problem = page._separate(VISITOR, session, *form(page))
    assert (shown, problem) == ("", text.NOTHING_FOUND)


def test_no_two_results_have_one_name() -> None:
    names = ["a.jpg", "A.png", "a-2.jpg", "b.tar.jpg", "a.jpg"]
    assert result_names(names) == ["a", "A-2", "a-2-2", "b.tar", "a-3"]


@pytest.mark.parametrize("preset", ["none", "product", "passport"])
def test_transparent_is_transparent_whatever_the_preset(page: Page, preset: str) -> None:
    for background in ("Transparent", "Picture"):  # of which none has been chosen
        options = page._options("me", form(page, preset=preset, background=background))
        assert options.background == "transparent"
    assert (
        page._options("me", form(page, preset=preset, background="Blur")).background == "blur:2.0%"
    )


def test_models_to_download_are_listed_with_their_terms() -> None:
    shown = text.list_absent([catalogue.known_model(name) for name in ("birefnet-lite", "isnet")])
    assert "181 MB" in shown
    assert "MIT; commercial use allowed" in shown
    assert "<code>alphacut models pull birefnet-lite</code>" in shown
    assert "<code>alphacut models pull isnet --accept-license</code>" in shown
    assert text.list_absent([]) == ""
    assert "8 MB. Licence: Apache-2.0; commercial use allowed." in text.describe(
        catalogue.MODELS[0]
    )


def test_problems_are_told_by_their_reason(page: Page) -> None:
    told = {
        reason: page._problem(ImageError("bytes: as the library words it", reason), "<b>.jpg")
        for reason in ("not_a_picture", "no_size", "too_large", "background", "gone")
    }
    assert "&lt;b&gt;.jpg is not a picture" in told["not_a_picture"]
    assert "dimensions" in told["no_size"]
    assert "above the limit of 200 megapixels" in told["too_large"]
    assert "background picture" in told["background"]
    assert "as the library words it" in told["gone"]
