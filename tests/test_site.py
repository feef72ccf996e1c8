"""The site builds as CONTRIBUTING.md says, without a warning, and all of its links lead."""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from alphacut import __all__ as PUBLIC
from alphacut.cli.main import cli
from blocks import ROOT

pytest.importorskip("sphinx")
pytestmark = pytest.mark.slow
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the names of its places."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        self.ids |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        if tag == "link" and named.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(named["href"])
        if LOADS.get(tag, "") in named:
            self.loads.append(named[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\.venv/bin/(sphinx-build .*)$", text, re.M)
    words = shlex.split(command)
    out = tmp_path_factory.mktemp("site")
    assert words[-1] == "build/site"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words[1:-1], out],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore",
             "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_link_leads_to_a_page_and_a_place(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme in ("https", "http", "mailto", "data"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target.is_file() and target.is_relative_to(site.resolve())
            if there and parts.fragment and target.suffix == ".html":
                there = unquote(parts.fragment) in pages[target].ids
            if not there:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_it_loads_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert not [load for page in pages.values() for load in page.loads if urlsplit(load).netloc]
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//|@import", style.read_text("utf-8"))


def test_every_command_option_and_public_name_has_its_place(site: Path) -> None:
    for name, command in cli.commands.items():
        page = Page(site / "docs" / "reference" / "commands" / f"{name}.html")
        for option in command.params:
            flag = next((flag for flag in option.opts if flag.startswith("--")), None)
            if flag and flag != "--help" and not getattr(option, "hidden", False):
                assert f"cmdoption-alphacut-{name}{flag[1:]}".replace("_", "-") in page.ids, flag
    python = Page(site / "docs" / "reference" / "python.html")
    errors = {f"alphacut.errors.{name}" for name in PUBLIC if name.endswith(("Error", "Warning"))}
    assert {f"alphacut.{name}" for name in PUBLIC} - python.ids <= {
        name.replace(".errors", "") for name in errors & python.ids
    }


def test_the_search_knows_its_pages(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    for page in ("docs/guides/hair", "docs/reference/commands/remove", "CHANGELOG",
                 "examples/notebooks/2-u2net-openvino"):  # fmt: skip
        assert f'"{page}"' in index
    assert "trimap" in index


def test_the_search_shows_excerpts(site: Path) -> None:
    """It fetches the pages that it found, which a browser allows over HTTP alone."""
    driver = pytest.importorskip("playwright.sync_api")
    browsers = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    if not (path := next(filter(None, browsers), "")):
        pytest.skip("no Chromium or Chrome is on the PATH")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever).start()
    try:
        with driver.sync_playwright() as running:
            page = running.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/search.html?q=trimap")
            excerpt = page.locator("#search-results .context").first
            assert "trimap" in excerpt.inner_text(timeout=120_000)
    finally:
        server.shutdown()
        server.server_close()
