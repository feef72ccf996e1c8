"""Trimaps and pairs in folders, found by their pictures' names."""

from pathlib import Path

import pytest

from alphacut.errors import ImageError
from alphacut.pipeline.namesake import TRIMAP_MARKS, find_namesake


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        ("photos/cat.jpg", "cat-trimap.png"),
        ("dog.jpeg", "dog_trimap.PNG"),
        ("bucket://x/owl.webp", "owl-cutout-trimap.png"),
        ("fox.jpg", "fox.tif"),
        ("photos/a/hen.jpg", "a/hen.png"),
        ("/somewhere/photos/a/hen.jpg", "a/hen.png"),
        ("../../photos/b/hen.jpg", "hen_trimap.png"),
    ],
)
def test_a_trimap_is_found_by_its_pictures_name(tmp_path: Path, picture: str, found: str) -> None:
    put(tmp_path, "cat-trimap.png", "cat.jpg", "dog_trimap.PNG", "owl-cutout-trimap.png", "fox.tif",
        "fox.txt", "a/hen.png", "hen_trimap.png", "owl-trimap.txt")  # fmt: skip
    assert find_namesake(tmp_path, picture, "trimap", TRIMAP_MARKS) == tmp_path / found


def test_one_that_is_missing_or_doubtful_is_told(tmp_path: Path) -> None:
    def find(folder: Path, picture: str) -> None:
        find_namesake(folder, picture, "trimap", TRIMAP_MARKS)

    put(tmp_path, "cat.jpg", "dog.png", "dog.tif", "a/hen.png")
    with pytest.raises(ImageError, match=r"cat\.jpg: has no trimap in .*: name it cat-trimap\.png"):
        find(tmp_path, str(tmp_path / "cat.jpg"))  # the picture itself is none
    with pytest.raises(ImageError, match=r"dog\.png and dog\.tif are trimaps of one picture"):
        find(tmp_path, "dog.jpg")
    with pytest.raises(ImageError, match="has no trimap"):  # another picture's, of the same name
        find(put(tmp_path, "hen.png", "a/owl.png"), "a/owl2.jpg")


def test_the_other_of_a_pair_has_the_same_name_below_the_same_folder(tmp_path: Path) -> None:
    black = tmp_path / "black"
    put(black, "a.png", "b.jpg", "b.png", "notes.txt", "x/1.png", "y/1.png")
    assert find_namesake(black, "white/a.jpg", "pair") == black / "a.png"
    assert find_namesake(black, "white/x/1.jpg", "pair") == black / "x" / "1.png"
    assert find_namesake(black, "white/y/1.jpg", "pair") == black / "y" / "1.png"
    with pytest.raises(ImageError, match=r"b\.jpg and b\.png are pairs of one picture"):
        find_namesake(black, "b.png", "pair")
    with pytest.raises(ImageError, match=r"has no pair in .*: name it notes\.png"):
        find_namesake(black, "notes.png", "pair")
