"""Clients that others wrote for remove.bg, pointed at a live service and otherwise unchanged."""

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import remove_bg_api
import requests
from live import KEY, NOISE, PHOTO, Live, opened
from removebg import removebg

# They leave files open
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
# Each call that is answered with an error ends in this client's own exception
Errors = remove_bg_api.Errors


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    path.write_bytes(PHOTO)
    return path


def check(data: bytes, mode: str = "RGBA") -> None:
    picture = opened(data)
    assert picture.size == (400, 300)
    assert picture.mode == mode
    if mode == "RGBA":
        alpha = np.asarray(picture)[..., 3]
        assert alpha[0, 0] == 0
        assert alpha[150, 200] == 255


# --- PyPI removebg ----------------------------------------------------------------------------


@pytest.fixture
def brilam(live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Any]:
    monkeypatch.setattr(removebg, "API_ENDPOINT", f"{live.address}/v1.0/removebg")
    monkeypatch.setattr(removebg.logging, "basicConfig", lambda **_: None)  # pytest owns the root
    return lambda key=KEY: removebg.RemoveBg(key, str(tmp_path / "error.log"))


def test_removebg_file(brilam: Any, photo: Path) -> None:
    brilam().remove_background_from_img_file(str(photo))
    check(Path(f"{photo}_no_bg.png").read_bytes())
    brilam().remove_background_from_img_file(str(photo), size="4k", bg_color="green")
    check(Path(f"{photo}_no_bg.png").read_bytes(), "RGB")


def test_removebg_url(brilam: Any, pictures: str, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    brilam().remove_background_from_img_url(f"http://{pictures}/photo.jpg", new_file_name=str(out))
    check(out.read_bytes())


def test_removebg_base64(brilam: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    text = base64.b64encode(PHOTO).decode()
    brilam().remove_background_from_base64_img(text, new_file_name=str(out))
    check(out.read_bytes())


def test_removebg_errors(brilam: Any, photo: Path) -> None:
    with pytest.raises(requests.HTTPError, match="403"):
        brilam("wrong").remove_background_from_img_file(str(photo))
    with pytest.raises(requests.HTTPError, match="400"):
        brilam().remove_background_from_img_file(str(photo), size="huge")


def test_all_that_version_004_sends(live: Live, photo: Path) -> None:
    """The version on GitHub sends every parameter each time; that on PyPI does not."""
    data = {
        "size": "regular", "type": "auto", "type_level": "none", "format": "auto",
        "roi": "0 0 100% 100%", "crop": "true", "crop_margin": None, "scale": "original",
        "position": "original", "channels": "rgba", "add_shadow": "false",
        "semitransparency": "true", "bg_color": None,
    }  # fmt: skip
    with photo.open("rb") as file:
        answer = requests.post(
            f"{live.address}/v1.0/removebg", data=data, files={"image_file": file},
            headers={"X-Api-Key": KEY}, timeout=30,
        )  # fmt: skip
    assert answer.status_code == 200
    assert "X-Type" not in answer.headers


# --- PyPI remove-bg-api -----------------------------------------------------------------------


@pytest.fixture
def anodev(live: Live, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(remove_bg_api, "API_URL", f"{live.address}/api")
    return remove_bg_api.RemoveBg(KEY)


def test_remove_bg_api_sources(anodev: Any, photo: Path, pictures: str) -> None:
    check(anodev.remove_bg_file(str(photo)))
    check(anodev.remove_bg_bytes(PHOTO))
    check(anodev.remove_bg_url(f"http://{pictures}/photo.jpg"))
    check(anodev.remove_bg_base64(base64.b64encode(PHOTO).decode()))
    check(anodev.remove_bg_file(str(photo), data={"channels": "alpha", "size": "auto"}), "L")


def test_remove_bg_api_account(anodev: Any) -> None:
    assert anodev.account.get_balance_dict()["total"] > 0
    assert anodev.account.free_api_calls() > 0


def test_remove_bg_api_errors(anodev: Any) -> None:
    with pytest.raises(Errors.ApiErrorCode400):
        anodev.remove_bg_bytes(NOISE)
    with pytest.raises(Errors.ApiErrorCode400):
        anodev.remove_bg_url("http://127.0.0.1/photo.jpg")
    anodev.change_api_key("wrong")
    with pytest.raises(Errors.ApiErrorCode403):
        anodev.remove_bg_bytes(PHOTO)


# --- npm remove.bg ----------------------------------------------------------------------------

SCRIPT = """
const bg = require("remove.bg");
const [, , key, file, url, base64img] = process.argv;
const call = (kind, options) => bg["removeBackgroundFromImage" + kind]({apiKey: key, ...options})
  .then(value => ({value}), error => ({error}));
(async () => console.log(JSON.stringify({
  file: await call("File", {path: file, size: "auto", type: "person", crop: true,
    crop_margin: "10%", scale: "80%", position: "center", outputFile: file + ".png"}),
  url: await call("Url", {url}),
  base64: await call("Base64", {base64img, bg_color: "81d4fa", channels: "rgba"}),
  wrong: await call("Url", {url, size: "huge"}),
})))();
"""


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and what it needs, installed in a folder of its own."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund",
               "--ignore-scripts", "remove.bg@1.3.0"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=folder)
    except subprocess.TimeoutExpired:
        pytest.skip("npm's registry does not answer in time")
    if done.returncode:
        pytest.skip(f"npm cannot install remove.bg here: {done.stderr.strip()[-200:]}")
    return folder


@pytest.mark.slow
def test_npm(npm: Path, live: Live, photo: Path, pictures: str) -> None:
    import json

    program = npm / "node_modules/remove.bg/dist/index.js"
    text = program.read_text()
    constant = '"https://api.remove.bg/v1.0/removebg"'
    assert text.count(constant) == 1
    program.write_text(text.replace(constant, f'"{live.address}/v1.0/removebg"'))
    (npm / "try.js").write_text(SCRIPT)
    base64_ = base64.b64encode(PHOTO).decode()
    command = ["node", "--no-deprecation", "try.js", KEY, str(photo),
               f"http://{pictures}/photo.jpg", base64_]  # fmt: skip
    done = subprocess.run(command, cwd=npm, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)

    value = results["file"]["value"]
    assert value["detectedType"] == "person"
    assert float(value["creditsCharged"]) == 0
    assert value["rateLimit"] == "100000"
    written = opened(Path(f"{photo}.png").read_bytes())
    assert [str(side) for side in written.size] == [value["resultWidth"], value["resultHeight"]]
    check(base64.b64decode(results["url"]["value"]["base64img"]))
    check(base64.b64decode(results["base64"]["value"]["base64img"]), "RGB")
    assert results["wrong"]["error"][0]["code"] == "invalid_size"
