"""What a visitor sees when several requests of theirs are worked on at once."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from alphacut import Options
from alphacut.demo.page import Desk, Page, result_names
from alphacut.demo.shelf import Shelf
from alphacut.demo.work import Made
from alphacut.models import catalogue
from alphacut.pipeline.strokes import Stroke

VISITOR: Any = SimpleNamespace(session_hash="me")


class Slow:
    """Work that does nothing, and waits for its turn where the picture is to have a drop shadow."""

    models = (catalogue.MODELS[0],)
    runtimes = ("openvino",)
    at_once = 2

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.painted: list[int] = []

    def devices(self, runtime: str) -> tuple[str, ...]:
        return ("auto",)

    def __call__(self, picture: bytes, options: Options, painted: tuple[Stroke, ...] = ()) -> Made:
        if options.shadow == "drop":
            self.begun.set()
            assert self.go_on.wait(60)
        self.painted.append(len(painted))
        return Made("png", b"", False, (1, 1), {})


@pytest.fixture
def page() -> Iterator[Page]:
    shelf, work = Shelf(), Slow()

    async def build() -> Page:  # in a loop, or Gradio makes some and leaves them open
        return Page(work, Options(model=work.models[0].name), shelf)

    yield asyncio.run(build())
    work.go_on.set()
    shelf.close()


@pytest.fixture
def desk(page: Page) -> Desk:
    made = Desk()
    begin(page, made)
    return made


def begin(page: Page, desk: Desk) -> list[Any]:
    return page._take_example(SimpleNamespace(name="cat.jpg"), VISITOR, desk, *form(page))


def form(page: Page, **changes: Any) -> list[Any]:
    return [changes.get(name, widget.value) for name, widget in page.form.items()]


def look(desk: Desk, version: int) -> Any:
    """The viewer's event when a stroke was painted, the first being version 1."""
    assert desk.photo
    stroke = {"label": "keep", "radius": 0.1, "points": [[0.5, 0.5]]}
    return SimpleNamespace(
        photo=desk.photo["id"], view="result", painting=False, version=version,
        strokes=[stroke] * version,
    )  # fmt: skip


def test_settings_that_change_while_a_stroke_is_worked_on_keep_it(page: Page, desk: Desk) -> None:
    work: Any = page.work
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(page._look, look(desk, 1), VISITOR, desk, *form(page, shadow="drop"))
        assert work.begun.wait(60)
        _, changed, _ = page._change(VISITOR, desk, *form(page))
        work.go_on.set()
        _, stroke, _ = slow.result(60)
    assert work.painted[-2:] == [1, 1]
    assert changed["version"] == stroke["version"] == 1
    assert changed["turn"] > stroke["turn"]  # so the viewer leaves it when the stroke comes after


def test_strokes_that_come_late_are_left(page: Page, desk: Desk) -> None:
    work: Any = page.work
    assert "turn" in page._look(look(desk, 2), VISITOR, desk, *form(page))[1]
    assert "turn" not in page._look(look(desk, 1), VISITOR, desk, *form(page))[1]
    page._download(VISITOR, desk, "png", *form(page))
    assert work.painted[-1] == 2


def test_a_new_picture_is_not_replaced_by_the_last_one(page: Page, desk: Desk) -> None:
    work: Any = page.work
    late = look(desk, 1)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(page._change, VISITOR, desk, *form(page, shadow="drop"))
        assert work.begun.wait(60)
        page._clear(desk)
        *_, viewer, _, _ = begin(page, desk)
        work.go_on.set()
        _, overtaken, _ = slow.result(60)
    assert "photo" not in overtaken
    assert "photo" not in page._look(late, VISITOR, desk, *form(page))[1]
    assert desk.photo
    assert viewer["photo"] == desk.photo["id"] != late.photo
    assert desk.look["version"] == 0


def test_no_two_results_have_one_name() -> None:
    names = ["a.jpg", "A.png", "a-2.jpg", "b.tar.jpg", "a.jpg"]
    assert result_names(names) == ["a", "A-2", "a-2-2", "b.tar", "a-3"]
