"""Jobs of tiny pictures, some broken, with a network of one convolution."""

import dataclasses
import io
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pyarrow import parquet

from alphacut import Options
from alphacut.batch import FOLDER, lock, manifest
from alphacut.batch import run as runs
from alphacut.batch.job import Job, plan
from alphacut.batch.store import Store
from alphacut.models import catalogue, weights
from pictures import make_photo

EXAMPLES = Path(__file__).parents[1] / "examples"
Rows = dict[tuple[str, int], dict[str, Any]]
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def add_tiny_model(folder: Path) -> str:
    """Add a model that finds what is red; return its name."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.zeros((1, 3, 5, 5), np.float32)
    kernel[0, 0] = 4 / 25
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[2, 2, 2, 2]),
            helper.make_node("Sigmoid", ["c"], ["y"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 320, 320])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 320, 320])],
        [
            numpy_helper.from_array(kernel, "w"),
            numpy_helper.from_array(np.array([-2], np.float32), "b"),
        ],
    )
    path = folder / "tiny.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    entry = next(entry for entry in catalogue.MODELS if entry.arch == "u2net")
    spec = dataclasses.replace(
        entry, name="tiny", aliases=(), weights={}, license="-", commercial="yes", note="",
        source="here",
    )  # fmt: skip
    return weights.add(path, spec, "onnx").name


def make_pictures(folder: Path, count: int, *, broken: bool = True) -> list[str]:
    """Write pictures of 64 to 128 pixels, and two real ones; one in twenty is broken.

    Returns:
        Their names below the folder, sorted.
    """
    dice = np.random.default_rng(1)
    names = []
    for index in range(count):
        name = f"{index % 5}/{index:05d}.{('jpg', 'png', 'webp')[index % 3]}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        H, W = dice.integers(64, 129, 2)
        image = make_photo(int(H), int(W)).astype(int) + dice.integers(-9, 10, (H, W, 3))
        picture = PIL.Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        if index % 100 < 2:
            real = ("astronaut.png", "chelsea.png")[index % 2]
            with PIL.Image.open(EXAMPLES / real) as photo:
                picture = photo.convert("RGB").resize((128, 96))
        picture.save(path)
        if broken and index % 20 == 10:
            content = path.read_bytes()
            path.write_bytes(random.Random(index).choice([b"", b"no picture", content[:60]]))
        names.append(name)
    return sorted(names)


def run_job(source: object, dest: object, **settings: Any) -> Rows:
    """Run a job as the command line does; return the manifest by id and occurrence."""
    job = Job(source=str(source), dest=str(dest), options=Options(model="tiny"), **settings)
    store = Store(job.dest)
    with lock.claimed(store) as claim:
        list(runs.run(job, plan(job), claim))
        manifest.merge(store)
    return read(dest.removeprefix("flaky://") if isinstance(dest, str) else dest)


def read(dest: object) -> Rows:
    """The merged manifest, of which each row is the only one of its input."""
    table = parquet.read_table(io.BytesIO(Store(str(dest)).get(manifest.MERGED) or b""))
    rows = {(row["id"], row["occurrence"]): row for row in table.to_pylist()}
    assert len(rows) == len(table)
    return rows


def alike(rows: Rows) -> list[dict[str, Any]]:
    """What two runs of the same pictures must agree on, besides `pictures`."""
    own = ("milliseconds", "run", "time", "output", "attempts", "key", "output_bytes",
           "output_sha256")  # fmt: skip
    return [
        {name: rows[key][name] for name in rows[key] if name not in own} for key in sorted(rows)
    ]


def results(dest: Path) -> dict[str, bytes]:
    """Contents by name of all results; what a killed process had not renamed yet is none."""
    return {
        str(path.relative_to(dest)): path.read_bytes()
        for path in dest.rglob("*")
        if path.is_file() and FOLDER not in path.parts and path.suffix != ".part"
    }


def pixels(content: bytes) -> tuple[str, tuple[int, int], bytes]:
    """Mode, size and samples of a picture. ISA-L does not always deflate the same to the same."""
    with PIL.Image.open(io.BytesIO(content)) as pillow:
        return pillow.mode, pillow.size, pillow.tobytes()


def pictures(dest: Path) -> dict[str, tuple[str, tuple[int, int], bytes]]:
    """Pixels by name of all results."""
    return {name: pixels(content) for name, content in results(dest).items()}


def check(source: Path, dest: Path) -> Rows:
    """Make sure that each input has one answer, and each result is whole and nobody else's."""
    rows, files = read(dest), results(dest)
    expected = {str(path.relative_to(source)) for path in source.rglob("*.*")}
    assert {id for id, _ in rows} == expected
    done = {f"{id}.png" for (id, _), row in rows.items() if row["status"] == "done"}
    assert done == set(files)  # none missing, none half, none besides
    for (id, _), row in rows.items():
        if row["status"] == "done":
            content = files[f"{id}.png"]
            assert len(content) == row["output_bytes"]
            assert content.endswith(b"IEND\xae\x42\x60\x82")
            assert not row["error"]
        else:
            assert row["error"]
    return rows


def until(true: Callable[[], object], seconds: float = 240) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def ray_workers(**environment: str) -> set[int]:
    """Numbers of the processes of Ray's actors that have these variables in their environment."""
    environment.setdefault("ALPHACUT_HOME", os.environ["ALPHACUT_HOME"])  # those of this test run
    wanted = {f"{name}={value}".encode() for name, value in environment.items()}
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            named = (path / "cmdline").read_bytes().startswith(b"ray::MapWorker")
            if named and wanted <= {*(path / "environ").read_bytes().split(b"\0")}:
                found.add(int(path.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
