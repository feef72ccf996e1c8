"""Films as rows of a batch: one film one task."""

import shutil
from pathlib import Path

import pytest

from clusters import run_job
from films import discs, make_film, pixels_of, sound_of, stamps_of

pytestmark = [pytest.mark.usefixtures("tiny"),
              pytest.mark.filterwarnings("ignore::alphacut.errors.AlphacutWarning")]  # fmt: skip


def test_films_and_pictures_in_one_folder(few: Path, tmp_path: Path) -> None:
    source, dest = tmp_path / "in", tmp_path / "out"
    (source / "films").mkdir(parents=True)
    shutil.copy(next(few.rglob("*.jpg")), source / "photo.jpg")
    film = make_film(source / "films" / "a.mkv", discs(8), sound="libopus")
    make_film(source / "films" / "a-cutout.webm", discs(2), codec="libvpx-vp9")  # a result
    (source / "films" / "b.mp4").write_bytes(b"broken")
    rows = {id: row for (id, _), row in run_job(source, dest).items()}
    assert {id: row["status"] for id, row in rows.items()} == {
        "photo.jpg": "done", "films/a.mkv": "done", "films/b.mp4": "failed",
    }  # fmt: skip
    assert "is not a film, or is cut short" in rows["films/b.mp4"]["error"]
    result = dest / "films" / "a.mkv.webm"
    assert rows["films/a.mkv"]["output"].endswith("films/a.mkv.webm")
    assert pixels_of(result)[3].shape == (48, 64, 4)
    assert (sound_of(result), stamps_of(result)) == (sound_of(film), stamps_of(film))
