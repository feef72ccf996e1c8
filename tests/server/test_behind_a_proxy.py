"""The service behind a proxy that strips a prefix."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from live import PHOTO, Live

from alphacut.errors import OptionError
from alphacut.server.settings import Settings
from proxy import strips_prefix


@pytest.fixture(scope="module")
def behind(start: Callable[..., Live]) -> Iterator[tuple[Live, httpx.Client]]:
    """A service that knows its prefix, and a client of the proxy in front of it."""
    live = start(root_path="/cut/", workers=1)
    with (
        strips_prefix(f"{live.host}:{live.port}", "/cut") as address,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        yield live, client


def test_both_contracts_answer(behind: tuple[Live, httpx.Client]) -> None:
    _, client = behind
    for path, name in (("v1.0/removebg", "image_file"), ("api/remove", "file")):
        answer = client.post(path, files={name: PHOTO})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png"), path


def test_refusals_keep_their_contract(behind: tuple[Live, httpx.Client]) -> None:
    _, client = behind
    assert "errors" in client.get("v1.0/nothing").json()
    assert "detail" in client.get("nothing").json()


def test_the_manual_names_the_prefix(behind: tuple[Live, httpx.Client]) -> None:
    _, client = behind
    manual = client.get("docs")
    assert "href=openapi.json" in manual.text  # relative, so it holds behind the proxy as well
    schema = client.get(str(manual.url.join("openapi.json"))).json()
    assert schema["servers"] == [{"url": "/cut"}]
    assert "/v1.0/removebg" in schema["paths"]


def test_redirects_stay_behind_the_proxy(behind: tuple[Live, httpx.Client]) -> None:
    _, client = behind
    answer = client.get("docs/", follow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["Location"] == str(client.base_url) + "docs"
    https = client.get("docs/", headers={"X-Forwarded-Proto": "https"}, follow_redirects=False)
    assert https.headers["Location"].startswith("https://")


def test_the_log_names_the_service_s_own_paths(behind: tuple[Live, httpx.Client]) -> None:
    live, client = behind
    client.get("v1.0/account")
    live.wait_until(lambda: any(line.get("path") == "/v1.0/account" for line in live.lines()))


@pytest.mark.parametrize("path", ["", "/", "/cut", "/cut/", "/a/b.c"])
def test_prefixes(path: str) -> None:
    assert Settings(root_path=path).prefix == path.rstrip("/")


@pytest.mark.parametrize(
    "path", ["cut", "/cut//", "https://a.example/cut", "/c t", "/cut?x", "//a"]
)
def test_what_is_no_prefix(path: str) -> None:
    with pytest.raises(OptionError, match="root_path"):
        Settings(root_path=path)
