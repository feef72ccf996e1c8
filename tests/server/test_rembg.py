"""rembg's contract against a live service."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from live import NOISE, PHOTO, Live, encode, opened

from alphacut.server.body import Fields
from alphacut.server.rembg import translate
from alphacut.server.settings import Settings

PATH = "/api/remove"
y, x = np.mgrid[-1:1:300j, -1:1:400j][..., None]
SCREEN = encode(np.where(x**2 + y**2 < 0.4, (120, 100, 90), (30, 180, 50)).astype(np.uint8))


ball = np.maximum(*(np.hypot(x * 160 - at, y * 120)[..., 0] < 50 for at in (-80, 80)))
TWO = encode(np.where(ball[..., None], (190, 40, 50), (176, 180, 174)).astype(np.uint8))


@pytest.fixture(scope="module")
def real_live(start: Callable[..., Live]) -> Live:
    """A service with the embedded network."""
    return start(real=True)


@pytest.fixture(scope="module")
def open_live(start: Callable[..., Live], pictures: str) -> Live:
    """A service without keys."""
    return start(allow_url_host=[pictures], max_body="3MB")


def test_post_and_get(open_live: Live, pictures: str) -> None:
    posted = open_live.client.post(PATH, files={"file": PHOTO})
    fetched = open_live.client.get(PATH, params={"url": f"http://{pictures}/photo.jpg"})
    for answer in (posted, fetched):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert opened(answer.content).mode == "RGBA"
    assert posted.content == fetched.content


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_documented_curl_calls(open_live: Live, pictures: str, tmp_path: Path) -> None:
    (tmp_path / "input.jpg").write_bytes(PHOTO)
    url = f"{open_live.address}{PATH}"
    calls = [
        ["-s", f"{url}?url=http://{pictures}/photo.jpg", "-o", "output.png"],
        ["-s", "-F", f"file=@{tmp_path / 'input.jpg'}", url, "-o", "output.png"],
    ]
    for call in calls:
        subprocess.run(["curl", "-m", "20", *call], cwd=tmp_path, check=True)
        assert opened((tmp_path / "output.png").read_bytes()).mode == "RGBA"


@pytest.mark.parametrize("where", ["form", "query"])
@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"om": "true"}, "L"),
        ({"om": "YES"}, "L"),
        ({"om": "1", "bgc": "255,0,0"}, "L"),
        ({"om": "off"}, "RGBA"),
        ({"om": ""}, "RGBA"),
        ({"bgc": "255,0,0"}, "RGB"),
        ({"bgc": "255,0,0,128"}, "RGBA"),
        ({"bgc": "green"}, "RGB"),
        ({"bgc": "#00ff00"}, "RGB"),
        ({"model": "alphacut-lite"}, "RGBA"),
        ({"extras": '{"only_mask": true}'}, "L"),
        ({"extras": '{"bgcolor": [1, 2, 3]}'}, "RGB"),
        ({"af": "240", "ab": "10", "ae": "10", "dc": "true"}, "RGBA"),
    ],
)
def test_fields(open_live: Live, where: str, fields: dict[str, str], mode: str) -> None:
    sent = {"data": fields} if where == "form" else {"params": fields}
    answer = open_live.client.post(PATH, files={"file": PHOTO}, **sent)
    assert answer.status_code == 200, answer.text
    assert opened(answer.content).mode == mode


def test_the_form_wins(open_live: Live) -> None:
    answer = open_live.client.post(
        PATH, files={"file": PHOTO}, data={"bgc": "255,0,0"}, params={"bgc": "0,0,255"}
    )
    assert opened(answer.content).getpixel((0, 0)) == (255, 0, 0)


def test_what_has_no_effect_is_named(open_live: Live) -> None:
    fields = {"a": "false", "af": "200", "ppm": "false", "vm": "1"}
    answer = open_live.client.post(PATH, files={"image_file": PHOTO}, data=fields)
    assert answer.status_code == 200
    assert answer.headers["X-Alphacut-Ignored"] == "af, vm"
    assert 0 <= float(answer.headers["X-Alphacut-Doubt"]) <= 1


@pytest.mark.parametrize(
    "fields",
    [
        {"points": "25% 50%"},
        {"points": "75% 50% drop"},
        {"box": "0 0 50% 100%"},
        {"extras": '{"sam_prompt": [{"type": "point", "data": [100, 150], "label": 1}]}'},
        {"extras": '{"sam_prompt": [{"type": "point", "data": [300, 150], "label": 0}]}'},
        {"extras": '{"sam_prompt": [{"type": "rectangle", "data": [5, 5, 198, 295]}]}'},
    ],
)
def test_one_of_two_subjects_is_chosen(real_live: Live, fields: dict[str, str]) -> None:
    answer = real_live.client.post(PATH, files={"file": TWO}, data=fields)
    assert answer.status_code == 200, answer.text
    alpha = opened(answer.content).getchannel("A")
    assert alpha.getpixel((100, 150)) > 250
    assert alpha.getpixel((300, 150)) == 0


@pytest.mark.parametrize(
    "prompt",
    ["true", "[1]", '[{"type": "point", "data": [1]}]', '[{"type": "circle", "data": [1, 2]}]',
     '[{"type": "point", "data": ["a", 2]}]', '[{"type": "point", "data": [-1, 2]}]',
     '[{"type": "point", "data": [1, 2], "label": 7}]',
     '[{"type": "rectangle", "data": [1, 2, 3, 4]}, {"type": "rectangle", "data": [1, 2, 3, 4]}]'],
)  # fmt: skip
def test_a_malformed_prompt_is_refused(open_live: Live, prompt: str) -> None:
    fields = {"extras": f'{{"sam_prompt": {prompt}}}'}
    answer = open_live.client.post(PATH, files={"file": PHOTO}, data=fields)
    assert answer.status_code == 422
    assert "sam_prompt" in answer.text
    assert "rectangle" in answer.text


def test_a_network_for_prompts_is_asked_them(start: Callable[..., Live]) -> None:
    live = start(first="mobile-sam", workers=1)  # ready: its self-test asks it something
    fields = {"extras": '{"sam_prompt": [{"type": "point", "data": [100, 80], "label": 1}]}'}
    answer = live.client.post(PATH, files={"file": PHOTO}, data=fields)
    assert answer.status_code == 200, answer.text
    alpha = opened(answer.content).getchannel("A")
    assert (alpha.getpixel((100, 80)), alpha.getpixel((160, 80))) == (255, 0)
    unasked = live.client.post(PATH, files={"file": PHOTO})
    assert unasked.status_code == 400
    assert "answers points and boxes: give one" in unasked.text


def test_a_point_outside_is_refused(open_live: Live) -> None:
    answer = open_live.client.post(PATH, files={"file": TWO}, data={"points": "5000 3"})
    assert answer.status_code == 400
    assert "outside the picture" in answer.text
    assert open_live.client.post(PATH, files={"file": TWO}, data={"box": "a"}).status_code == 422


def test_a_known_ground_is_told(open_live: Live) -> None:
    fields = {"ground": "auto", "spill": "0.5"}
    for path in (PATH, "/v1.0/removebg"):
        answer = open_live.client.post(path, files={"image_file": SCREEN}, data=fields)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Alphacut-Ground"].startswith("screen; sure=")
    told = open_live.client.post(PATH, files={"file": SCREEN})
    assert "X-Alphacut-Ground" not in told.headers


@pytest.mark.slow
def test_alpha_matting_solves_the_edges(open_live: Live) -> None:
    import pymatting  # noqa: F401, compiles itself the first time, longer than a request may take

    alphas = []
    for fields in ({}, {"a": "true"}, {"extras": '{"alpha_matting": true}'}):
        answer = open_live.client.post(PATH, files={"file": PHOTO}, data=fields)
        assert "X-Alphacut-Ignored" not in answer.headers
        alphas.append(np.asarray(opened(answer.content))[..., 3])
    plain, solved, by_extras = alphas
    assert np.any(plain != solved)
    np.testing.assert_array_equal(solved, by_extras)


def test_alpha_matting_without_pymatting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphacut.server.rembg.find_spec", lambda name: None)
    service: Any = SimpleNamespace(default_model="u2net-lite", settings=Settings())
    options, ignored = translate(Fields({"a": "true"}), Fields({"ab": "9"}), service)
    assert options.matting == "auto"
    assert ignored == ["a", "ab"]


def test_edges(open_live: Live) -> None:
    plain, hard = (
        np.asarray(opened(open_live.client.post(PATH, files={"file": PHOTO}, data=fields).content))
        for fields in ({}, {"ppm": "true"})
    )
    soft = [np.count_nonzero((one[..., 3] > 0) & (one[..., 3] < 255)) for one in (plain, hard)]
    assert soft[1] < soft[0]


def test_nothing_found_is_transparent(open_live: Live) -> None:
    answer = open_live.client.post(PATH, files={"file": NOISE})
    assert np.asarray(opened(answer.content)).max() == 0


ERRORS: list[tuple[int, str, dict[str, Any]]] = [
    (422, "POST", {}),
    (422, "POST", {"files": {"other": PHOTO}}),
    (415, "POST", {"content": PHOTO, "headers": {"Content-Type": "image/jpeg"}}),
    (422, "GET", {}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"model": "u2net"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"model": "xxu2netpxx"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"af": "256"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"om": "perhaps"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"spill": "much"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"spill": "1.5"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"ground": "plaid"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"bgc": "1,2"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"bgc": "256,0,0"}}),
    (422, "POST", {"files": {"file": PHOTO}, "data": {"bgc": "./secret.png"}}),
    (422, "POST", {"files": {"file": PHOTO}, "params": {"extras": '{"model_path": "/etc"}'}}),
    (422, "POST", {"files": {"file": PHOTO}, "params": {"extras": "[1]"}}),
    (400, "POST", {"files": {"file": b"no picture"}}),
    (422, "POST", {"files": {"file": b""}}),
    (400, "POST", {"files": {"file": PHOTO[:2000]}}),
    (413, "POST", {"files": {"file": bytes(3_000_001)}}),
    (400, "GET", {"params": {"url": "file:///etc/passwd"}}),
    (400, "GET", {"params": {"url": "http://127.0.0.1/"}}),
    (400, "GET", {"params": {"url": "http://{pictures}/missing"}}),
    (405, "DELETE", {}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "method", "sent"), ERRORS, ids=lambda value: str(value)[:50])
def test_errors(
    open_live: Live, pictures: str, status: int, method: str, sent: dict[str, Any]
) -> None:
    sent = json.loads(json.dumps(sent).replace("{pictures}", pictures)) if method == "GET" else sent
    answer = open_live.client.request(method, PATH, **sent)
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    if status == 422:
        assert set(detail[0]) == {"type", "loc", "msg"}
    else:
        assert isinstance(detail, str)
