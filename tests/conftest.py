"""Fixtures that every test may use."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from alphacut import Remover
from pictures import FakeRuntime, make_photo

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import ONNX Runtime before alphacut does


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep weights and compiled networks of tests out of the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHACUT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return make_photo()


@pytest.fixture
def fake_runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def fake_remover(fake_runtime: FakeRuntime) -> Remover:
    return Remover(network=fake_runtime)
