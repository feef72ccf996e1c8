"""Select: what a box and points mean, and where the network looks for it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alphacut.pipeline.select import (
    Box,
    Places,
    View,
    find_each,
    lay,
    part_of,
    select,
    show,
    view_of,
)

SIZE = (100, 160)
LEFT, RIGHT = (20, 20, 80, 50), (30, 100, 70, 140)
Array = NDArray[np.float32]


def scene(*boxes: Box) -> Array:
    """(100, 160) float32: 1 in boxes."""
    alpha = np.zeros(SIZE, np.float32)
    for box in boxes:
        part_of(alpha, box)[:] = 1
    return alpha


class Looking:
    """A network that sees what is there, and notes where it looked."""

    def __init__(self, alpha: Array, blind: int = 0) -> None:
        self.alpha, self.blind = alpha, blind
        self.views: list[Box] = []
        self.sharp: list[Box | None] = []

    def __call__(self, view: View) -> Array:
        """See nothing in the views that it is blind for: the first ones."""
        self.views.append(view.box)
        self.sharp.append(view.sharp)
        seen = part_of(self.alpha, view.box).copy()
        return seen if len(self.views) > self.blind else np.zeros_like(seen)


def test_a_box_is_looked_at_with_some_surroundings() -> None:
    looking = Looking(scene(LEFT, RIGHT))
    chosen = select(looking, SIZE, Places(box=(15, 15, 85, 55)))
    np.testing.assert_array_equal(chosen.alpha, scene(LEFT))
    assert chosen.views == (View(looking.views[0]),)
    assert len(looking.views) == 1  # it fits: no other look is taken
    top, left, bottom, right = looking.views[0]
    assert top < 15
    assert left < 15
    assert bottom > 85
    assert right > 55


def test_where_a_box_shows_nothing_other_looks_are_taken() -> None:
    looking = Looking(scene(LEFT), blind=2)
    chosen = select(looking, SIZE, Places(box=LEFT))
    np.testing.assert_array_equal(chosen.alpha, scene(LEFT))
    close, wide, again = looking.views
    assert close == again != wide
    assert looking.sharp == [None, None, LEFT]
    nothing = select(Looking(scene()), SIZE, Places(box=LEFT))
    assert not nothing.alpha.any()


def test_the_look_that_fills_the_box_is_taken() -> None:
    """The first sees half of the subject, the second another that the box cuts."""
    box = (20, 40, 80, 100)
    scenes = iter((scene((25, 45, 75, 60)), scene((25, 45, 75, 160)), scene((25, 45, 75, 95))))
    looks: list[View] = []

    def look(view: View) -> Array:
        looks.append(view)
        return part_of(next(scenes), view.box)

    chosen = select(look, SIZE, Places(box=box))
    np.testing.assert_array_equal(chosen.alpha, scene((25, 45, 75, 95)))
    assert chosen.views == (looks[2],)
    assert looks[2] == looks[0]._replace(sharp=box)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_around_a_box_can_be_blurred(kind: type) -> None:
    levels = np.random.default_rng(1).integers(0, np.iinfo(kind).max, (*SIZE, 3)).astype(kind)
    shown = show(levels, View((10, 20, 90, 140), sharp=(30, 50, 60, 100)))
    assert shown.shape == (80, 120, 3)
    assert shown.dtype == kind
    np.testing.assert_array_equal(shown[20:50, 30:80], levels[30:60, 50:100])
    around, before = shown[:15].astype(float), levels[10:25, 20:140].astype(float)
    assert around.std() < 0.2 * before.std()
    assert abs(around.mean() - before.mean()) < 0.1 * before.mean()
    np.testing.assert_array_equal(show(levels, View((10, 20, 90, 140))), levels[10:90, 20:140])


def test_what_the_picture_cuts_fits_a_box_at_its_side() -> None:
    looking = Looking(scene((20, 0, 80, 40)))
    chosen = select(looking, SIZE, Places(box=(15, 0, 85, 45)))
    assert len(looking.views) == 1
    np.testing.assert_array_equal(chosen.alpha, scene((20, 0, 80, 40)))


def test_a_view_stays_in_the_picture_and_is_not_too_narrow() -> None:
    assert view_of((0, 0, *SIZE), SIZE) == (0, 0, *SIZE)
    top, left, bottom, right = view_of((10, 79, 90, 81), SIZE)
    assert right - left >= (bottom - top) / 2


def test_nothing_outside_a_box_is_selected() -> None:
    chosen = select(Looking(scene(LEFT)), SIZE, Places(box=(20, 20, 80, 40)))
    np.testing.assert_array_equal(chosen.alpha, scene((20, 20, 80, 40)))
    assert not chosen.region[:, 40:].any()


def test_what_a_box_only_cuts_is_not_meant() -> None:
    alpha = scene((40, 40, 60, 60), (5, 58, 95, 80))  # the second reaches into the box
    alpha[:, 60] = 0
    alpha[:, 58] = 0
    chosen = select(Looking(alpha), SIZE, Places(box=(35, 35, 65, 65)))
    assert chosen.alpha[50, 45] == 1
    assert not chosen.alpha[:, 61:].any()


def test_a_point_chooses_its_part() -> None:
    looking = Looking(scene(LEFT, RIGHT))
    chosen = select(looking, SIZE, Places(keep=((120, 50),)))
    np.testing.assert_array_equal(chosen.alpha, scene(RIGHT))
    both = select(looking, SIZE, Places(keep=((120, 50), (30, 30))))
    np.testing.assert_array_equal(both.alpha, scene(LEFT, RIGHT))


def test_what_a_window_cuts_is_looked_at_again_until_it_is_whole() -> None:
    looking = Looking(scene(RIGHT))
    chosen = select(looking, SIZE, Places(keep=((102, 32),)))
    np.testing.assert_array_equal(chosen.alpha, scene(RIGHT))
    assert part_of(looking.alpha, looking.views[0]).sum() < looking.alpha.sum()
    assert part_of(looking.alpha, looking.views[-1]).sum() == looking.alpha.sum()


def test_a_point_on_what_another_has_found_is_not_looked_for() -> None:
    looking = Looking(scene(RIGHT))
    select(looking, SIZE, Places(keep=((120, 50),)))
    once = len(looking.views)
    select(looking, SIZE, Places(keep=((120, 50), (110, 40))))
    assert len(looking.views) == 2 * once


def test_a_point_may_miss_by_a_hair() -> None:
    chosen = select(Looking(scene(LEFT, RIGHT)), SIZE, Places(keep=((19, 50),)))
    np.testing.assert_array_equal(chosen.alpha, scene(LEFT))


def test_a_dropped_point_clears_its_part() -> None:
    chosen = select(Looking(scene(LEFT, RIGHT)), SIZE, Places(drop=((120, 50),)))
    np.testing.assert_array_equal(chosen.alpha, scene(LEFT))
    assert not chosen.region[50, 120]
    beside = select(Looking(scene(LEFT, RIGHT)), SIZE, Places(drop=((75, 5),)))
    np.testing.assert_array_equal(beside.alpha, scene(LEFT, RIGHT))


def test_subjects_that_touch_are_divided_at_their_neck() -> None:
    joined = scene((30, 20, 70, 60), (30, 80, 70, 120), (48, 60, 52, 80))
    chosen = select(Looking(joined), SIZE, Places(keep=((40, 50),), drop=((100, 50),)))
    assert (chosen.alpha[30:70, 20:58] == 1).all()
    assert not chosen.alpha[:, 82:].any()


def test_where_nothing_is_found_the_next_window_is_larger() -> None:
    looking = Looking(scene(LEFT), blind=1)
    chosen = select(looking, SIZE, Places(keep=((35, 50),)))
    np.testing.assert_array_equal(chosen.alpha, scene(LEFT))
    first, second = ((view[2] - view[0], view[3] - view[1]) for view in looking.views[:2])
    assert first < second
    assert all(view[0] <= 50 < view[2] and view[1] <= 35 < view[3] for view in looking.views)


def test_nothing_at_all() -> None:
    looking = Looking(scene())
    chosen = select(looking, SIZE, Places(keep=((5, 5), (159, 99))))
    assert not chosen.alpha.any()
    assert looking.views[-1] == (0, 0, *SIZE)


def test_a_box_and_a_point_choose_in_the_box() -> None:
    looking = Looking(scene(LEFT, RIGHT))
    chosen = select(looking, SIZE, Places((0, 0, *SIZE), keep=((120, 50),)))
    np.testing.assert_array_equal(chosen.alpha, scene(RIGHT))
    beside = select(looking, SIZE, Places((0, 0, *SIZE), keep=((90, 2),)))
    np.testing.assert_array_equal(beside.alpha, scene(RIGHT))
    nothing = select(Looking(scene()), SIZE, Places((0, 0, *SIZE), keep=((90, 2),)))
    assert not nothing.alpha.any()


def test_planes_of_views_are_laid_on_the_whole() -> None:
    fine = np.full((40, 40), 0.75, np.float32)  # of a view of half its size
    whole = lay({(0, 0, *SIZE): np.full((50, 80), 0.5, np.float32), (10, 20, 30, 40): fine}, SIZE)
    assert whole.shape == SIZE
    assert whole[20, 30] == 0.75
    assert whole[60, 100] == 0.5


def test_each_subject_is_looked_at_by_itself() -> None:
    """The whole shows half of the first, and all of the second, which no closer look shows."""

    def look(view: View) -> Array:
        if view.box == (0, 0, *SIZE):
            return scene((20, 20, 50, 50), RIGHT)
        return part_of(scene((20, 20, 60, 50)), view.box)

    found = find_each(look, SIZE)
    np.testing.assert_array_equal(found.alpha, scene((20, 20, 53, 50), RIGHT))  # its box ends
    assert View((0, 0, *SIZE)) in found.views
    assert len(found.views) == 2
    assert not find_each(Looking(scene()), SIZE).alpha.any()


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(0, 90), st.integers(0, 150), st.integers(1, 100), st.integers(1, 160)),
    st.lists(st.tuples(st.integers(0, 159), st.integers(0, 99)), max_size=3),
    st.lists(st.tuples(st.integers(0, 159), st.integers(0, 99)), max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_asked_nothing_is_invented(
    box: Box, keep: list[tuple[int, int]], drop: list[tuple[int, int]], seed: int
) -> None:
    top, left, bottom, right = box
    box = top, left, max(top + 1, bottom), max(left + 1, right)
    coarse = np.random.default_rng(seed).random((10, 16)).astype(np.float32)
    alpha = np.kron(coarse, np.ones((10, 10), np.float32))
    chosen = select(Looking(alpha), SIZE, Places(box, tuple(keep), tuple(drop)))
    assert (chosen.alpha <= alpha).all()
    inside = np.zeros(SIZE, bool)
    part_of(inside, box)[:] = True
    assert not chosen.alpha[~inside].any()
    assert not chosen.alpha[~chosen.region].any()


def test_views_are_inside_the_picture() -> None:
    for place in ((0, 0), (159, 99), (80, 50)):
        looking = Looking(scene())
        select(looking, SIZE, Places(keep=(place,)))
        for top, left, bottom, right in looking.views:
            assert 0 <= top < bottom <= 100
            assert 0 <= left < right <= 160
