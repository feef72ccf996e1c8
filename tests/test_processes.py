"""What crosses processes: errors, results and options by pickle, real pools."""

import copy
import json
import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import alphacut
from alphacut import errors, remover
from pictures import make_photo


def tree(root: type[errors.AlphacutError]) -> Iterator[type[errors.AlphacutError]]:
    yield root
    for kind in root.__subclasses__():
        yield from tree(kind)


@given(
    kind=st.sampled_from([*tree(errors.AlphacutError)]),
    text=st.text(max_size=8),
    more=st.dictionaries(st.sampled_from(["reason", "note"]), st.text(max_size=4)),
)
def test_every_error_survives(
    kind: type[errors.AlphacutError], text: str, more: dict[str, str]
) -> None:
    arguments = {
        errors.UnknownName: (text, text, [text]),
        errors.OptionError: (text, text, text),
        errors.MissingExtra: (text, text),
    }
    error = kind(*arguments.get(kind, (text,)))
    vars(error).update(more)
    for survivor in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), copy.copy(error)):
        assert type(survivor) is kind
        assert (str(survivor), vars(survivor)) == (str(error), vars(error))
    # as task queues do, which write what they are made of as JSON
    assert str(kind(*json.loads(json.dumps(error.args)))) == str(error)


def test_options_survive() -> None:
    options = alphacut.Options(preset="product", crop=True, margin="5%")
    for survivor in (pickle.loads(pickle.dumps(options)), copy.deepcopy(options)):
        assert survivor == options
        assert survivor.replace(preset="none").size is None  # it was left open


def test_a_cutout_survives() -> None:
    cutout = alphacut.remove(make_photo(240, 320))
    for survivor in (pickle.loads(pickle.dumps(cutout)), copy.deepcopy(cutout)):
        np.testing.assert_array_equal(survivor.alpha, cutout.alpha)
        np.testing.assert_array_equal(survivor.photo, cutout.photo)
        assert survivor.milliseconds == cutout.milliseconds
        assert survivor.options == cutout.options


def test_a_remover_loads_anew() -> None:
    first = alphacut.Remover(threads=1, background="white")
    second = pickle.loads(pickle.dumps(first))
    assert second.options == first.options
    assert second.network is not first.network
    photo = make_photo(240, 320)
    np.testing.assert_array_equal(second(photo).alpha, first(photo).alpha)


def malformed(path: Path) -> alphacut.Cutout:
    return remover.remove(path, margin="5pct")


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the system does not fork"
)
def test_a_pool_answers_with_the_error(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        answer = pool.map_async(malformed, [tmp_path / "photo.png"])
        with pytest.raises(errors.OptionError, match="margin '5pct'"):
            answer.get(timeout=60)


def test_an_executor_maps(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        cv2.imwrite(str(path), make_photo()[..., ::-1])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for cutout in pool.map(alphacut.remove, paths, timeout=120):
            assert cutout.alpha.shape == make_photo().shape[:2]
