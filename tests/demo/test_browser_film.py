"""The tab for a film, in a real browser."""

from pathlib import Path

import pytest
from test_browser import (  # noqa: F401, fixtures of the browser tests
    CHROMIUM,
    SCREENS,
    Visit,
    browser,
    server,
    visit,
)

from films import discs, make_film, pixels_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome is on the PATH"),
    pytest.mark.timeout(300),
]


def test_a_film_is_cut_out_and_played(visit: Visit, tmp_path: Path) -> None:  # noqa: F811
    visitor = visit()
    page = visitor.page
    page.get_by_role("tab", name="A film").click()
    page.get_by_role("button", name="Remove the background").click()
    page.get_by_text("Choose a clip first.").wait_for()
    visitor.upload(make_film(tmp_path / "clip.mp4", discs(6, 180, 320, 4.0)), at="#film")
    page.get_by_role("button", name="Remove the background").click()
    page.wait_for_function("document.querySelector('#film-done video')?.videoWidth === 320")
    page.screenshot(path=str(SCREENS / "film.png"))
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download clip.webm").click()
    coming.value.save_as(tmp_path / "clip.webm")
    assert pixels_of(tmp_path / "clip.webm")[2].shape == (180, 320, 4)


def test_long_clips_and_other_files_are_refused(visit: Visit, tmp_path: Path) -> None:  # noqa: F811
    visitor = visit()
    page = visitor.page
    page.get_by_role("tab", name="A film").click()
    long = make_film(tmp_path / "long.mkv", discs(32), rate=1)
    visitor.upload(long, at="#film")
    page.get_by_role("button", name="Remove the background").click()
    page.get_by_text("long.mkv: is longer than 30 seconds: shorten it").wait_for()
