"""A worker that is spoken to over its pipe, as the pool does."""

from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from live import PHOTO, encode

from alphacut import Options
from alphacut.models import weights
from alphacut.output import background
from alphacut.server import worker
from alphacut.server.pool import _Worker
from alphacut.server.worker import ask, receive, send

SPEC = weights.find_model("alphacut-lite")
GIGABYTES = 10**9


def reporting(pipe: Connection, *arguments: Any) -> None:
    """A worker that says how many backgrounds it held when it began."""
    plain = worker._serve

    def serve(*arguments: Any) -> Any:
        held = background._read_once.cache_info().currsize
        facts, data = plain(*arguments)
        return facts | {"held_before": held}, data

    worker._serve = serve
    worker.work(pipe, *arguments)


def converse(attended: _Worker, request: worker.Request) -> tuple[str, dict[str, Any], bytes]:
    """Return the worker's last message."""
    ask(attended.pipe, request)
    kind, facts, data = receive(attended.pipe)
    if kind == "predict":
        N, _, h, w = facts["shape"]
        disc = np.zeros((N, 1, h, w), np.float32)
        disc[..., h // 4 : h // 2, w // 4 : w // 2] = 1
        send(attended.pipe, "output", {"shapes": [disc.shape]}, [disc.data])
        return receive(attended.pipe)
    return kind, facts, data


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> Any:
    work = worker.work
    monkeypatch.setattr("alphacut.server.pool.worker.work", reporting)
    made = _Worker({SPEC.name: SPEC}, 4 * GIGABYTES)
    monkeypatch.setattr(worker, "work", work)
    yield made
    made.stop()


def test_a_background_is_not_kept_for_the_next_client(attended: _Worker) -> None:
    behind = encode(np.full((50, 20, 3), (0, 0, 250), np.uint8))
    options = Options(format="png", background=behind)
    for _ in range(2):
        kind, facts, data = converse(attended, worker.Request(PHOTO, options))
        assert (kind, facts["held_before"]) == ("done", 0)
        assert data[:4] == b"\x89PNG"


def test_errors_are_described(attended: _Worker) -> None:
    whole = Options(format="png", max_megapixels=0.01)
    kind, facts, _ = converse(attended, worker.Request(PHOTO, whole))
    assert (kind, facts["error"], facts["reason"]) == ("failed", "ImageError", "too_large")
    for roi, reason in (("0 0 401px 10px", "out_of_bounds"), ("5px 5px 5px 9px", "empty")):
        options = Options(format="png", roi=roi)
        _, facts, _ = converse(attended, worker.Request(PHOTO, options))
        assert (facts["error"], facts["option"], facts["reason"]) == ("OptionError", "roi", reason)
    options = Options(format="png", background=b"no image")
    _, facts, _ = converse(attended, worker.Request(PHOTO, options))
    assert (facts["error"], facts["reason"]) == ("ImageError", "background")
