"""The editor in a real browser: colours, sizes, zoom, cancelling, results of many pictures."""

import io
import time
import urllib.parse
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from test_browser import (  # noqa: F401, fixtures of the browser tests
    CHROMIUM,
    EXAMPLES,
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


def zoom_of(visitor: Visitor) -> float:
    return float(visitor.page.get_attribute(".viewer", "data-zoom"))


def box_of(visitor: Visitor, selector: str) -> dict[str, float]:
    return dict(visitor.page.query_selector(selector).bounding_box())


@pytest.mark.parametrize("how", ["Enter", "Tab", "click"])
def test_a_typed_colour_is_shown(visit: Visit, how: str) -> None:  # noqa: F811
    visitor = visit()
    visitor.cut_out()
    with visitor.waits_for_result():
        visitor.choose("Colour")
    swatch = box_of(visitor, ".dialog-button")
    assert min(swatch["width"], swatch["height"]) >= 40
    visitor.page.click(".dialog-button")
    field = visitor.page.locator("input[type=text]:visible").first
    with visitor.waits_for_result():
        field.fill("#ff0000")
        if how == "click":
            visitor.page.mouse.click(400, 100)
        else:
            field.press(how)
    assert visitor.shown()[30, 480].tolist() == [255, 0, 0, 255]


def test_preset_transparency_and_sizes(visit: Visit) -> None:  # noqa: F811
    visitor = visit()
    visitor.cut_out()
    visitor.page.get_by_text("Crop, shape and shadow").click()
    with visitor.waits_for_result():
        visitor.page.get_by_label("Preset").click()
        visitor.page.get_by_role("option", name="Product").click()
    _, data = visitor.download("Download")
    image = PIL.Image.open(io.BytesIO(data))
    assert image.getchannel("A").getextrema() == (0, 255)  # "Transparent" was chosen
    told = f"the file {image.width} x {image.height}, done"
    visitor.page.get_by_text(told).wait_for()
    with visitor.waits_for_result():
        visitor.page.get_by_placeholder("800x600").fill("300x200")
        visitor.page.get_by_placeholder("800x600").press("Enter")
    visitor.page.get_by_text("the file 300 x 200, done").wait_for()
    _, data = visitor.download("Download")
    assert PIL.Image.open(io.BytesIO(data)).size == (300, 200)
    visitor.page.get_by_placeholder("800x600").fill("large")
    visitor.page.get_by_placeholder("800x600").press("Enter")
    visitor.page.get_by_text("give pixels such as 800x600").wait_for()


def test_one_frame_in_compare_and_touch_up(visit: Visit) -> None:  # noqa: F811
    visitor = visit()
    visitor.cut_out()
    compared = box_of(visitor, ".viewer .stage")
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Touch up").click()
    assert box_of(visitor, ".viewer .stage") == compared
    assert box_of(visitor, ".viewer .paper") == pytest.approx(compared)
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Compare").click()
    visitor.page.get_by_text("Crop, shape and shadow").click()
    with visitor.waits_for_result():
        visitor.page.get_by_label("Crop", exact=True).check()
    assert box_of(visitor, ".viewer .stage") == compared
    visitor.photograph("cropped-in-its-frame-1440")


def test_wheel_keys_and_buttons_zoom_and_move(visit: Visit) -> None:  # noqa: F811
    visitor = visit()
    visitor.cut_out()
    stage = box_of(visitor, ".viewer .stage")
    x, y = stage["x"] + stage["width"] * 0.75, stage["y"] + stage["height"] * 0.25
    visitor.page.mouse.move(x, y)

    def under() -> list[float]:
        """What is under the mouse, in shares of the picture."""
        sheet = box_of(visitor, ".viewer .after")
        return [(x - sheet["x"]) / sheet["width"], (y - sheet["y"]) / sheet["height"]]

    before = under()
    visitor.page.mouse.wheel(0, -200)
    visitor.page.wait_for_function("document.querySelector('.viewer').dataset.zoom > 1.1")
    assert under() == pytest.approx(before, abs=0.01)
    first = zoom_of(visitor)
    visitor.page.focus(".viewer .slider")
    visitor.page.keyboard.press("+")
    assert zoom_of(visitor) == pytest.approx(first * 1.25, abs=0.02)
    left = box_of(visitor, ".viewer .after")["x"]
    visitor.page.keyboard.press("Alt+ArrowLeft")
    assert box_of(visitor, ".viewer .after")["x"] > left
    visitor.page.get_by_role("button", name="Move").click()
    left = box_of(visitor, ".viewer .after")["x"]
    visitor.page.mouse.move(x, y)
    visitor.page.mouse.down()
    visitor.page.mouse.move(x - 30, y, steps=3)
    visitor.page.mouse.up()
    assert box_of(visitor, ".viewer .after")["x"] == pytest.approx(left - 30, abs=1)
    visitor.photograph("zoomed-1440")
    visitor.page.keyboard.press("0")
    assert zoom_of(visitor) == 1
    assert box_of(visitor, ".viewer .after") == pytest.approx(stage)
    for _ in range(9):
        visitor.page.keyboard.press("+")
        visitor.page.keyboard.press("+")
    assert zoom_of(visitor) == 8
    seen = box_of(visitor, ".viewer .after")  # it covers the frame
    assert seen["x"] <= stage["x"] + 1
    assert seen["x"] + seen["width"] >= stage["x"] + stage["width"] - 1


def test_a_stroke_lands_where_it_is_painted_when_zoomed(visit: Visit) -> None:  # noqa: F811
    visitor = visit()
    visitor.cut_out()
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Touch up").click()
    visitor.page.get_by_label("Remove", exact=True).check()
    stage = box_of(visitor, ".viewer .stage")
    x, y = stage["x"] + stage["width"] * 220 / 512, stage["y"] + stage["height"] * 110 / 512
    visitor.page.mouse.move(x, y)
    for _ in range(4):  # what is under the mouse stays there
        visitor.page.mouse.wheel(0, -100)
    visitor.page.wait_for_function("document.querySelector('.viewer').dataset.zoom > 2")
    zoom = zoom_of(visitor)
    with visitor.waits_for_result():
        visitor.page.mouse.down()
        visitor.page.mouse.up()
    alpha = visitor.shown()[..., 3]
    assert alpha[110, 220] == 0  # the face
    radius_px = 0.03 * 512 / zoom  # a finer brush
    assert alpha[110, 220 + round(2.5 * radius_px)] > 240
    visitor.photograph("painted-when-zoomed-1440")


def test_two_fingers_zoom(visit: Visit) -> None:  # noqa: F811
    visitor = visit(width=390)
    visitor.cut_out()
    with visitor.waits_for_result():
        visitor.page.get_by_role("button", name="Touch up").click()
    visitor.page.evaluate("document.querySelector('.viewer .stage').scrollIntoView()")
    stage = box_of(visitor, ".viewer .stage")
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    fingers = visitor.page.context.new_cdp_session(visitor.page)

    def touch(kind: str, *apart: float) -> None:
        points = [{"x": x + side, "y": y, "id": n} for n, side in enumerate(apart)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    asked = visitor.asked
    touch("touchStart", -30)
    touch("touchStart", -30, 30)
    for step in range(1, 7):
        touch("touchMove", -30 - 10 * step, 30 + 10 * step)
    touch("touchEnd")
    assert 2 < zoom_of(visitor) < 4
    assert visitor.asked == asked  # nothing was painted
    assert visitor.wide() <= 390
    visitor.photograph("pinched-390")


def test_one_picture_can_be_cancelled(visit: Visit, tmp_path: Path) -> None:  # noqa: F811
    visitor = visit()
    visitor.page.get_by_role("tab", name="Many pictures").click()
    visitor.choose("Best")  # takes a while
    visitor.page.get_by_role("tab", name="One picture").click()
    PIL.Image.open(EXAMPLES / "coffee.png").resize((2400, 1600)).save(tmp_path / "large.webp")
    visitor.upload(tmp_path / "large.webp")
    visitor.page.get_by_role("button", name="Cancel").click()
    visitor.page.get_by_text("Drop Image Here").wait_for()
    visitor.page.get_by_role("button", name="Cancel").wait_for(state="hidden")
    visitor.page.wait_for_timeout(3000)
    assert not visitor.page.is_visible(".viewer")
    visitor.page.get_by_role("tab", name="Many pictures").click()
    visitor.choose("Fast")
    visitor.page.get_by_role("tab", name="One picture").click()
    visitor.cut_out()
    assert visitor.shown().shape[:2] == (512, 512)


def test_many_results_tell_their_doubt_and_open(visit: Visit, tmp_path: Path) -> None:  # noqa: F811
    PIL.Image.new("RGB", (300, 200), (200, 200, 200)).save(tmp_path / "flat.png")
    visitor = visit()
    visitor.page.get_by_role("tab", name="Many pictures").click()
    pictures = (EXAMPLES / "astronaut.png", tmp_path / "flat.png", EXAMPLES / "chelsea.png")
    visitor.upload(*pictures, at="#photos")
    visitor.page.wait_for_function("document.querySelectorAll('#photos tr').length == 3")
    visitor.page.get_by_role("button", name="Remove the backgrounds").click()
    visitor.page.get_by_text("3 of 3 done. 1 without a subject.").wait_for()
    told = visitor.page.locator("#many-done li").all_inner_texts()
    assert ["in doubt" in one for one in told] == [True, False, True]
    assert "No subject" in told[1]
    visitor.photograph("many-doubt-1440")
    with visitor.waits_for_result():
        visitor.page.click("#many-done li:nth-child(3) button")
    visitor.page.wait_for_selector(".viewer .slider", state="visible")
    assert visitor.shown().shape[:2] == (300, 451)
    name, _ = visitor.download("Download")
    assert name == "chelsea-cutout.png"
    visitor.page.get_by_role("tab", name="Many pictures").click()
    assert visitor.page.locator("#many-done li").count() == 3  # they are still there
    with visitor.waits_for_result():
        visitor.page.click("#many-done li:nth-child(2) button")
    visitor.page.get_by_text("No foreground was found").wait_for()


def test_uploads_that_nobody_used_go_with_their_visitor(visit: Visit, tmp_path: Path) -> None:  # noqa: F811
    visitor = visit()
    visitor.cut_out()
    source = visitor.page.get_attribute(".viewer .after", "src")
    folder = Path(urllib.parse.unquote(source.partition("file=")[2])).parents[1]
    visitor.page.get_by_role("tab", name="Many pictures").click()
    for index in range(5):
        PIL.Image.new("RGB", (40, 30)).save(tmp_path / f"unused-{index}.png")
    visitor.upload(*sorted(tmp_path.glob("*.png")), at="#photos")
    visitor.page.wait_for_function("document.querySelectorAll('#photos tr').length == 5")
    visitor.page.wait_for_timeout(500)
    assert len(list(folder.rglob("unused-*.png"))) == 5
    visitor.page.reload()
    end = time.monotonic() + 60
    while list(folder.rglob("unused-*.png")) or source.split("/")[-2] in str(
        list(folder.iterdir())
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
    visitor.page.wait_for_selector("#photo input[type=file]", state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_choices_can_be_seen(visit: Visit, scheme: str) -> None:  # noqa: F811
    """WCAG 1.4.11 asks for a contrast of 3 to 1 of what shows that there is a choice."""
    visitor = visit(scheme=scheme)
    visitor.page.get_by_role("tab", name="Many pictures").click()
    border, ground = visitor.page.evaluate(
        "(() => { const one = document.querySelector('input[type=radio]:not(:checked)');"
        "const label = one.closest('label');"
        "return [getComputedStyle(one).borderTopColor, getComputedStyle(label).backgroundColor]})()"
    )

    def light(colour: str) -> float:
        shares = np.array([float(part) for part in colour.strip("rgba()").split(",")[:3]]) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    low, high = sorted((light(border), light(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3, (border, ground)
