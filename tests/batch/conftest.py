"""Fixtures of tests of many pictures: folders of them, an object store, and a Ray cluster."""

import functools
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from clusters import add_tiny_model, make_pictures, run_job


@pytest.fixture(scope="session")
def tiny(home: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    return add_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures, 12 of them broken."""
    folder = tmp_path_factory.mktemp("many")
    make_pictures(folder, 240)
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures, 2 of them broken."""
    folder = tmp_path_factory.mktemp("few")
    make_pictures(folder, 40)
    return folder


@pytest.fixture(scope="session")
def local(tiny: str, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local engine makes of the 240 pictures."""
    dest = tmp_path_factory.mktemp("local")
    run_job(source, dest)
    return dest


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An object store on this machine, with a bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.delenv(name, raising=False)
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(scope="session")
def ray_here(s3: str, tiny: str) -> Iterator[None]:
    """A cluster on this machine whose processes know the object store; one GPU is pretended."""
    from alphacut.batch import on_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_ray.ray, "init", functools.partial(on_ray.ray.init, num_gpus=1))
        assert on_ray._connect(None)
    yield
    on_ray.ray.shutdown()
