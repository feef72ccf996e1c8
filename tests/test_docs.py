"""What the pages of the documentation show: their commands and their Python run."""

import dataclasses
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from alphacut import files
from alphacut.cli.main import cli
from alphacut.models import catalogue, weights
from alphacut.models.entry import Weights
from blocks import ROOT, bash, blocks, commands, furnish, run_page

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("", "docs", "docs/guides", "docs/models", "examples", "packages", "integrations")
    for path in sorted((ROOT / folder).glob("*.md" if not folder or "docs" in folder else "*/*.md"))
    if path.name not in ("CHANGELOG.md", "log.md")  # records of their day
}
# Pages whose blocks are run by another test, or cannot be, and why
ELSEWHERE = {
    "README.md": ".ci/run reads its lines, word for word",
    "CONTRIBUTING.md": ".ci/run has its commands",
    "docs/cluster.md": "test_millions_run_from_bucket_to_bucket",
    "docs/training.md": "test_training_runs",
    "docs/video.md": "needs films; tests/cli/test_cli_video.py makes them",
    "packages/alphacut-rembg/README.md": "tests/rembg runs it: it is not installed beside rembg",
    "examples/kuberay/README.md": "needs a cluster; the page says that it has not been run",
}
SHOWN = {page for page, text in PAGES.items() if blocks(text)}
posix = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    furnish(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
@posix
@pytest.mark.parametrize("page", sorted(SHOWN - {*ELSEWHERE}))
def test_its_commands_run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "curl" in PAGES[page] and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    for name in set(re.findall(r"^alphacut models pull (\S+)", PAGES[page], re.M)):
        publish(name, folder, monkeypatch)
    run_page(PAGES[page], folder)
    for result in set(re.findall(r"^alphacut [^#\n]* -o ([\w./-]+)", PAGES[page], re.M)):
        assert Path(result).exists(), result


def publish(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the bundled network on a mirror in place of a model that cannot be had here."""
    lite = weights.find_model("u2net-lite")
    path = folder / "mirror" / f"{name}.onnx"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(weights.ASSETS / lite.weights["onnx"].file, path)
    file = Weights(
        file=path.name, bytes=path.stat().st_size, sha256=files.sha256(path), urls=("x",)
    )
    spec = dataclasses.replace(lite, name=name, aliases=(), weights={"onnx": file})
    monkeypatch.setenv("ALPHACUT_MIRROR", str(path.parent))
    monkeypatch.setenv("ALPHACUT_HOME", str(folder / "home"))
    models = tuple(spec if each.name == name else each for each in catalogue.MODELS)
    monkeypatch.setattr(catalogue, "MODELS", models)


def test_blocks_left_to_others_are_known() -> None:
    assert set(ELSEWHERE) <= SHOWN
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for block in blocks(PAGES["CONTRIBUTING.md"]):
        for command in commands(block):
            if command.endswith("pre-commit install"):  # changes the checkout's own hooks
                continue
            if "sphinx-build" in command:  # tests/test_site.py
                continue
            assert all(part.removeprefix(".venv/bin/").split()[0] in ci
                       for part in command.split(" && ")), command  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
@posix
def test_millions_run_from_bucket_to_bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto.server")
    fsspec = pytest.importorskip("fsspec")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    rows = {"id": ["a"], "address": [str(folder / "photo.jpg")]}
    parquet.write_table(pyarrow.table(rows), folder / "list.parquet")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    secrets = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    try:
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("shop")
        store.put(str(folder / "photos" / "a.jpg"), "shop/photos/a.jpg")
        (block,) = blocks(PAGES["docs/cluster.md"])
        bash("\n".join(commands(block)), folder)
        assert store.exists("shop/cut/a.jpg.png")
        assert (folder / "cut" / "more" / "b.jpg.png").exists()
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
@posix
def test_training_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sys.path.insert(0, str(Path(__file__).parent / "training"))
    from small import RECIPE, photograph, write

    monkeypatch.setenv("ALPHACUT_HOME", str(folder / "home"))
    (folder / "recipes").mkdir()
    (folder / "recipes" / "u2net-lite-composites.toml").write_text(
        RECIPE.replace('"random"', '"model"').replace("1e-3", "1e-5")
    )
    for n in range(5):
        cutout = photograph(n, 40, 40)
        disc = np.zeros((40, 40, 1), np.uint8)
        disc[8:32, 8:32] = 255
        write(folder / "DATA/cutouts" / f"{n}.png", np.dstack([cutout, disc]))
        write(folder / "DATA/backgrounds" / f"{n}.png", photograph(n))
    first, several = blocks(PAGES["docs/training.md"])
    bash("\n".join(commands(first)), folder, OMP_NUM_THREADS="1")
    assert (folder / "photo-cutout.png").exists()
    assert several.startswith("torchrun ")  # tests/training/test_train.py starts two processes


PYTHON = [(page, n) for page, text in PAGES.items() if page != "CONTRIBUTING.md"
          for n in range(len(blocks(text, "python")))]  # fmt: skip


@pytest.mark.parametrize(("page", "n"), PYTHON)
def test_its_python_runs(
    page: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    code = blocks(PAGES[page], "python")[n]
    names: dict[str, Any] = {}
    exec(compile(code, page, "exec"), names)
    for made in re.findall(r'\.save\("([\w.]+)"', code):
        assert (tmp_path / made).stat().st_size > 5_000
    if "rembg" in page:
        assert names["png"].startswith(b"\x89PNG")
        assert names["mask"].mode == "L"


INLINE = sorted({
    (page, " ".join(command.split()))
    for page, text in PAGES.items()
    for command in re.findall(r"`(alphacut [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
})  # fmt: skip


@pytest.mark.parametrize(("page", "shown"), INLINE)
def test_commands_in_the_text_exist(page: str, shown: str) -> None:
    words = shlex.split(shown.split(" < ")[0])[1:]
    command: click.Command = cli.commands["remove"]
    if words[0] in cli.commands:
        command = cli.commands[words.pop(0)]
    flags = {"--help", "-h", "--version"}
    while isinstance(command, click.Group):
        flags |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        default = getattr(command, "_default", None)
        name = words.pop(0) if words and words[0] in command.commands else default
        if name is None:
            break
        command = command.commands[name]
    flags |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.split("=")[0] in flags, f"{page}: {shown}"
