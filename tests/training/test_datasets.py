"""What lies on disk: layouts, what is held out, and what is said of what is not there."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from small import photograph, write

from alphacut.errors import ImageError, TrainingError
from alphacut.training.data import Pictures
from alphacut.training.datasets import LAYOUTS, Subject, find, read_pair
from alphacut.training.recipe import Recipe, Source


def test_every_fifth_is_held_out(data: Path) -> None:
    files = find(Source(kind="composites", part="valid"), data)
    assert [path.name for path, _ in files.subjects] == ["4.png"]
    assert [path.name for path in files.backgrounds] == ["4.png"]
    trained = find(Source(kind="composites"), data)
    assert "4.png" not in {path.name for path, _ in trained.subjects}


@pytest.mark.parametrize("listed", ["names", "grounds", "without"])
def test_lists_that_leave_nothing(data: Path, listed: str) -> None:
    kept = {path.name for path in (data / "cutouts").iterdir()} if listed == "without" else {"x"}
    (data / "list.txt").write_text("\n".join(kept))
    source = dataclasses.replace(Source(kind="composites"), **{listed: ("list.txt",)})
    with pytest.raises(TrainingError, match=r"(cutouts: no subject|backgrounds: no background) is"):
        find(source, data)


def test_pairs_without_parts_are_divided(tmp_path: Path) -> None:
    for n in range(7):
        write(tmp_path / "image" / f"{n}.png", photograph(n))
        write(tmp_path / "alpha" / f"{n}.png", np.zeros((60, 80), np.uint8))
    names = {}
    for part in ("train", "valid", "test"):
        files = find(Source(kind="pairs", layout="plain", part=part), tmp_path)
        names[part] = "".join(path.stem for path, _ in files.subjects)
    assert names == {"train": "012356", "valid": "4", "test": "4"}
    for n in range(1, 7):
        (tmp_path / "image" / f"{n}.png").unlink()
    with pytest.raises(TrainingError, match="needs 5 pictures"):
        find(Source(kind="pairs", layout="plain", part="valid"), tmp_path)


def test_layouts_of_pairs(tmp_path: Path, recipe: Recipe) -> None:
    for name, parts in LAYOUTS.items():
        for part, ((images, alphas), *_) in parts.items():
            write(tmp_path / name / images / "a.png", photograph(1))
            write(tmp_path / name / alphas / "a.png", np.full((60, 80), 128, np.uint8))
            source = Source(kind="pairs", layout=name, folder=name, part=part)
            alpha = Pictures(recipe, (source,), tmp_path).sample(0).alpha
            expected = 1.0 if name == "easyportrait" else 128 / 255
            assert alpha[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(kind="composites", cutouts="none"), "there are no pictures"),
        (Source(kind="empty", only=("x*",)), "backgrounds: no background is left"),
        (Source(kind="pairs", layout="mine"), "choose one of plain"),
        (Source(kind="pairs", layout="p3m"), "has no train/blurred_image with train/mask"),
        (Source(kind="pairs", layout="duts", part="valid"), "has no valid part"),
        (Source(kind="taught", folder="pool"), "needs teachers"),
        (Source(kind="taught", folder="pool", teachers=("a", "b")), "doubt: give a number"),
        (Source(kind="composites", without=("none.txt",)), "list of names cannot be read"),
    ],
)
def test_what_is_not_there_is_said(data: Path, source: Source, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        find(source, data)


def test_cutouts_need_transparency_and_truths_their_size(recipe: Recipe, data: Path) -> None:
    for n in range(6):
        write(data / "solid" / f"{n}.png", photograph(n))
    with pytest.raises(TrainingError, match="no transparency"):
        Pictures(recipe, (Source(kind="composites", cutouts="solid"),), data).sample(0)
    write(data / "train/image" / "a.png", photograph(0))
    write(data / "train/alpha" / "a.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(TrainingError, match="its picture"):
        Pictures(recipe, (Source(kind="pairs", layout="plain"),), data).sample(0)
    (data / "train/alpha/a.png").unlink()
    with pytest.raises(TrainingError, match=r"no alpha for a\.png"):
        Pictures(recipe, (Source(kind="pairs", layout="plain"),), data)


def pair(root: Path, orientation: int, exif: str, upright: bool) -> tuple[np.ndarray, np.ndarray]:
    """A photograph whose upper left is bright, stored under an orientation, and its alpha."""
    alpha = np.zeros((60, 80), np.uint8)
    alpha[:20, :30] = 255
    picture = PIL.Image.fromarray(np.repeat(alpha[..., np.newaxis], 3, axis=2))
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    (root / "image").mkdir(parents=True)
    picture.save(root / "image" / "a.jpg", exif=tags, quality=95)
    shown = PIL.ImageOps.exif_transpose(PIL.Image.open(root / "image" / "a.jpg"))
    write(root / "alpha" / "a.png", np.asarray(shown.convert("L")) if upright else alpha)
    subject = Subject(root / "image" / "a.jpg", (root / "alpha" / "a.png",))
    image, matte, _ = read_pair(subject, exif=exif)
    return image[..., 0] / 255, matte


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photograph_and_alpha_are_turned_together(tmp_path: Path, orientation: int) -> None:
    upright = {}
    for exif in ("image", "both", "neither"):
        image, matte = pair(tmp_path / exif, orientation, exif, upright=exif == "image")
        assert np.abs(image - matte).mean() < 0.01
        upright[exif] = matte > 0.5
    assert np.array_equal(upright["image"], upright["both"])
    assert upright["neither"].shape == (60, 80)  # as it is stored
    assert upright["neither"][:20, :30].all()
    assert upright["both"].shape == ((60, 80) if orientation < 5 else (80, 60))


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_orientation_that_nobody_explains_is_an_error(tmp_path: Path, orientation: int) -> None:
    """Upside down, it would be learnt in silence."""
    pair(tmp_path / "a", 1, "unstated", upright=True)
    with pytest.raises(TrainingError, match=rf'orientation {orientation}: state .* exif = "image"'):
        pair(tmp_path / "b", orientation, "unstated", upright=False)


def test_an_alpha_with_an_orientation_of_its_own_explains_itself(tmp_path: Path) -> None:
    pair(tmp_path, 6, "image", upright=True)
    tags = PIL.Image.Exif()
    tags[0x0112] = 6
    stored = PIL.Image.open(tmp_path / "image" / "a.jpg").convert("L")
    stored.save(tmp_path / "alpha" / "a.png", exif=tags)
    subject = Subject(tmp_path / "image" / "a.jpg", (tmp_path / "alpha" / "a.png",))
    for exif in ("unstated", "image", "both", "neither"):
        image, matte, _ = read_pair(subject, exif=exif)
        assert np.abs(image[..., 0] / 255 - matte).mean() < 0.01


@pytest.mark.parametrize("mode", ["P", "L", "I;16", "1", "RGB", "LA", "RGBA"])
def test_classes_are_numbers_whatever_their_colours(tmp_path: Path, mode: str) -> None:
    """Also those that a palette paints without red, which were background."""
    numbers = np.zeros((6, 8), np.uint8)
    numbers[2:4, 3:6] = 2
    if mode == "P":
        mask = PIL.Image.fromarray(numbers).convert("P")
        mask.putpalette([9, 0, 0, 255, 0, 0, 0, 128, 0])  # class 2 is green, the background reddish
        mask.putdata(numbers.flatten().tolist())
    elif mode == "I;16":
        mask = PIL.Image.fromarray(numbers.astype(np.uint16))
    elif mode == "1":
        mask = PIL.Image.fromarray(numbers > 0)
    elif mode == "RGB":
        mask = PIL.Image.fromarray(np.dstack([numbers * 0, numbers, numbers * 0]))
    else:
        mask = PIL.Image.fromarray(numbers).convert(mode)
    assert mask.mode == mode
    mask.save(tmp_path / "mask.png")
    write(tmp_path / "photo.png", photograph(1, 6, 8))
    alpha = read_pair(Subject(tmp_path / "photo.png", (tmp_path / "mask.png",)), classes=True)[1]
    assert np.array_equal(alpha, numbers > 0)


def test_a_mask_that_is_no_picture(tmp_path: Path) -> None:
    write(tmp_path / "photo.png", photograph(1, 6, 8))
    (tmp_path / "mask.png").write_text("no mask")
    with pytest.raises(ImageError, match=r"mask\.png: cannot be read"):
        read_pair(Subject(tmp_path / "photo.png", (tmp_path / "mask.png",)), classes=True)


def teach(root: Path, names: str = "abcd") -> None:
    """Photographs that two teachers have answered to, the second one at half the size."""
    for n, name in enumerate(names):
        answer = np.zeros((60, 80), np.uint8)
        answer[10:50, 20:60] = 255
        write(root / "pool/image" / f"{name}.png", photograph(n))
        write(root / "pool/best" / f"{name}.png", answer)
        answer[:, 40:] = 0
        write(root / "pool/other" / f"{name}.png", answer[::2, ::2])


TAUGHT = Source(kind="taught", folder="pool", teachers=("best", "other"), doubt=(0.75,))


def test_taught_photographs_count_less_in_doubt(tmp_path: Path, recipe: Recipe) -> None:
    teach(tmp_path)
    sample = Pictures(recipe, (TAUGHT,), tmp_path).sample(0)
    assert sample.alpha[30, 55] == 1
    assert sample.loss_weight[30, 55] == pytest.approx(0.25)
    assert sample.loss_weight[30, 25] == 1
    loss_weight = Pictures(recipe, (TAUGHT,), tmp_path)[0]["loss_weight"]
    assert 0.2 < loss_weight.min() < 0.3


def test_three_teachers_vote_where_each_has_its_doubt(tmp_path: Path, recipe: Recipe) -> None:
    teach(tmp_path)
    shutil.copytree(tmp_path / "pool/other", tmp_path / "pool/third")
    source = dataclasses.replace(TAUGHT, teachers=("best", "other", "third"), doubt=(0.75, 1, 1))
    sample = Pictures(recipe, (source,), tmp_path).sample(0)
    assert sample.alpha[30, 55] == 0  # which the best one alone had seen
    assert sample.loss_weight[30, 55] == pytest.approx(0.25)
    assert sample.alpha[30, 25] == sample.loss_weight[30, 25] == 1
    with pytest.raises(TrainingError, match="a vote, with a number for each, needs three"):
        find(dataclasses.replace(TAUGHT, doubt=(0.75, 1)), tmp_path)


def test_one_teacher_has_seen_the_upright_picture(tmp_path: Path) -> None:
    pair(tmp_path / "pool", 6, "image", upright=True)
    (tmp_path / "pool/alpha").rename(tmp_path / "pool/best")
    source = dataclasses.replace(TAUGHT, teachers=("best",), doubt=())
    files = find(source, tmp_path)
    (subject,) = files.subjects
    image, matte, _ = files.pair(subject)
    assert np.abs(image[..., 0] / 255 - matte).mean() < 0.01


def test_what_teachers_do_not_agree_on_is_passed_over(tmp_path: Path, recipe: Recipe) -> None:
    teach(tmp_path)
    for name in "abc":
        write(tmp_path / "pool/other" / f"{name}.png", np.zeros((60, 80), np.uint8))
    pictures = Pictures(recipe, (dataclasses.replace(TAUGHT, doubt=(1.0,)),), tmp_path)
    assert {pictures.sample(n).image.tobytes() for n in range(8)} == {photograph(3).tobytes()}
    write(tmp_path / "pool/other" / "d.png", np.zeros((60, 80), np.uint8))
    with pytest.raises(TrainingError, match="agree on no picture"):
        pictures.sample(0)


def test_names_and_patterns_choose(tmp_path: Path) -> None:
    teach(tmp_path)
    (tmp_path / "some.txt").write_text("a.png\nb.png\nc.png\n")
    (tmp_path / "bad.txt").write_text("b.png\n")
    (tmp_path / "pool/other/c.png").unlink()
    for changes, expected in (
        ({}, "abd"),
        ({"names": ("some.txt",)}, "ab"),
        ({"names": ("some.txt",), "without": ("bad.txt",)}, "a"),
        ({"only": ("b*", "d*")}, "bd"),
    ):
        files = find(dataclasses.replace(TAUGHT, **changes), tmp_path)
        assert "".join(path.stem for path, _ in files.subjects) == expected


def test_named_grounds_of_several_folders(data: Path) -> None:
    write(data / "more" / "9.png", photograph(9))
    (data / "grounds.txt").write_text("4.png\n9.png\n")
    source = Source(kind="empty", backgrounds=("backgrounds", "more"), grounds=("grounds.txt",))
    assert [path.name for path in find(source, data).backgrounds] == ["4.png", "9.png"]


def test_decoded_pictures_are_smaller_and_the_same(
    tmp_path: Path, data: Path, recipe: Recipe
) -> None:
    teach(data)
    sources = (
        TAUGHT,
        Source(kind="composites", canvas=(1.0, 1.0)),
        dataclasses.replace(TAUGHT, kind="composites"),
    )
    for source in sources:
        small = dataclasses.replace(recipe, decoded_px=40)
        first, again = (Pictures(small, (source,), data).sample(1) for _ in range(2))
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.alpha, again.alpha)
    assert max(Pictures(small, (TAUGHT,), data).sample(0).image.shape) == 40
    assert any((data / "decoded").iterdir())
