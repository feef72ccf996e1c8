"""Pick, in a real browser: clicks, a dragged box, keys, fingers, undo."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from test_browser import (  # noqa: F401, fixtures of the browser tests
    CHROMIUM,
    Visit,
    Visitor,
    browser,
    server,
    visit,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome is on the PATH"),
    pytest.mark.timeout(300),
]
LEFT, RIGHT = (170, 210), (520, 210)  # middles of two balls, in pixels of the picture
SIZE = 700, 400


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of two balls on grey."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    image = np.stack([170 + 20 * x / 700, 175 + 15 * y / 400, 180 - 10 * x / 700], axis=2)
    for (across, down), colour in ((LEFT, (200, 40, 40)), (RIGHT, (40, 60, 190))):
        light = np.clip(1.1 - 0.4 * np.hypot(x - across + 30, y - down + 40) / 110, 0.3, 1.2)
        ball = (np.hypot(x - across, y - down) < 95)[..., np.newaxis]
        image = np.where(ball, np.array(colour) * light[..., np.newaxis], image)
    path = tmp_path_factory.mktemp("pick") / "balls.png"
    smooth = cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (3, 3), 0)
    PIL.Image.fromarray(smooth).save(path)
    return path


def pick_mode(visitor: Visitor, balls: Path) -> None:
    visitor.cut_out(balls)
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Pick", exact=True).click()


def at(visitor: Visitor, place: tuple[int, int]) -> tuple[float, float]:
    """Where a place of the picture is on the page."""
    box = visitor.page.query_selector(".viewer .paper").bounding_box()
    return (box["x"] + place[0] / SIZE[0] * box["width"],
            box["y"] + place[1] / SIZE[1] * box["height"])  # fmt: skip


def seen(visitor: Visitor) -> tuple[bool, bool]:
    """Whether each ball is in the result."""
    alpha = visitor.shown()[..., 3]
    return bool(alpha[LEFT[::-1]] > 200), bool(alpha[RIGHT[::-1]] > 200)


def inked(visitor: Visitor) -> int:
    """How many pixels of the paper are drawn on."""
    count: Any = visitor.page.evaluate(
        "(() => { const paper = document.querySelector('.viewer .paper'); return "
        "paper.getContext('2d').getImageData(0, 0, paper.width, paper.height).data"
        ".filter((value, i) => i % 4 === 3 && value).length; })()"
    )
    return int(count)


def test_a_click_keeps_a_second_drops_and_undo_takes_back(
    visit: Visit,  # noqa: F811
    balls: Path,
) -> None:
    visitor = visit()
    pick_mode(visitor, balls)
    assert visitor.page.get_attribute(".viewer", "data-parts") == "2"
    visitor.page.mouse.move(*at(visitor, RIGHT))
    assert inked(visitor) > 1000  # the part under the pointer
    visitor.photograph("pick-hover-1440")
    with visitor.waits_for_result():
        visitor.page.mouse.click(*at(visitor, LEFT))
    assert seen(visitor) == (True, False)
    visitor.page.mouse.move(*at(visitor, RIGHT))
    visitor.photograph("pick-kept-1440")
    name, data = visitor.download("Download")
    assert name == "balls-cutout.png"
    alpha = np.asarray(PIL.Image.open(io.BytesIO(data)))[..., 3]
    assert alpha[LEFT[::-1]] > 200
    assert not alpha[RIGHT[::-1]]
    with visitor.waits_for_result():  # the second click on it
        visitor.page.mouse.click(*at(visitor, LEFT))
    assert seen(visitor) == (False, True)
    with visitor.waits_for_result():
        visitor.page.locator(".undo-pick").click()
    assert seen(visitor) == (True, False)
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Everything").click()
    assert seen(visitor) == (True, True)
    visitor.page.keyboard.down("Alt")
    with visitor.waits_for_result():
        visitor.page.mouse.click(*at(visitor, RIGHT))
    visitor.page.keyboard.up("Alt")
    assert seen(visitor) == (True, False)


def test_a_drag_draws_a_box(visit: Visit, balls: Path) -> None:  # noqa: F811
    visitor = visit(scheme="dark")
    pick_mode(visitor, balls)
    with visitor.waits_for_result():
        visitor.page.mouse.move(*at(visitor, (400, 90)))
        visitor.page.mouse.down()
        visitor.page.mouse.move(*at(visitor, (560, 250)))
        visitor.page.mouse.move(*at(visitor, (640, 330)))
        visitor.page.mouse.up()
    assert seen(visitor) == (False, True)
    visitor.photograph("pick-box-dark-1440")
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Compare").click()
    assert seen(visitor) == (False, True)  # what was picked stays so


def test_keys_pick_and_draw_a_box(visit: Visit, balls: Path) -> None:  # noqa: F811
    visitor = visit()
    pick_mode(visitor, balls)
    paper = visitor.page.locator(".viewer .paper")
    assert "Space picks" in str(paper.get_attribute("aria-label"))
    paper.focus()
    for key in ("Shift+ArrowLeft",) * 2 + ("ArrowLeft",) * 2:  # from the middle to 26 %
        paper.press(key)
    with visitor.waits_for_result():
        paper.press(" ")
    assert seen(visitor) == (True, False)
    with visitor.waits_for_result():
        paper.press("Control+z")
    assert seen(visitor) == (True, True)
    for key in ("Shift+ArrowRight",) * 3 + ("Shift+ArrowUp",) * 3:  # to 56 %, 20 %
        paper.press(key)
    paper.press("b")
    for key in ("Shift+ArrowRight",) * 4 + ("Shift+ArrowDown",) * 7:
        paper.press(key)
    with visitor.waits_for_result():
        paper.press("b")
    assert seen(visitor) == (False, True)
    assert inked(visitor) > 100


def test_a_phone(browser: Any, server: Any, balls: Path) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True,
                                  is_mobile=True)  # fmt: skip
    visitor = Visitor(context.new_page(), server.address)
    pick_mode(visitor, balls)
    assert visitor.wide() <= 390
    with visitor.waits_for_result():
        visitor.page.touchscreen.tap(*at(visitor, RIGHT))
    assert seen(visitor) == (False, True)
    visitor.page.get_by_text("Not this").click()
    with visitor.waits_for_result():
        visitor.page.touchscreen.tap(*at(visitor, RIGHT))
    assert seen(visitor) == (True, False)
    visitor.photograph("pick-phone-390")
    assert visitor.complaints == []
    context.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_each_subject_is_shown_by_itself(
    visit: Visit,  # noqa: F811
    balls: Path,
    width: int,
) -> None:
    visitor = visit(width=width)
    visitor.cut_out(balls)
    visitor.page.get_by_role("button", name="Subjects one by one").click()
    visitor.page.locator("#subjects a").nth(1).wait_for()
    assert visitor.page.locator("#subjects a").count() == 2
    assert visitor.wide() <= width
    visitor.page.locator("#subjects").scroll_into_view_if_needed()
    visitor.photograph(f"subjects-{width}")
    name, data = visitor.download("balls-cutout-2.png")
    assert name == "balls-cutout-2.png"
    alpha = np.asarray(PIL.Image.open(io.BytesIO(data)))[..., 3]
    assert (alpha[LEFT[::-1]], alpha[RIGHT[::-1]]) == (0, 255)
    with visitor.waits_for_result():  # they are no longer those of this picture
        visitor.page.get_by_role("button", name="Pick", exact=True).click()
    visitor.page.wait_for_function("!document.querySelector('#subjects a')")
