"""Pictures that `benchmarks/edges_pictures.py` draws: their truth is the truth."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from alphacut.evaluation.quality import find_samples
from pictures import disc, make_photo

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "edges_pictures.py"
SMALL = 0.01, 0.02  # megapixels
SEEDS = range(16)


@pytest.fixture(scope="module")
def pictures() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("edges_pictures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cut-outs, photographs with masks, and grounds, each of its own shade."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("cutouts", "photos", "masks", "grounds"):
        (folder / name).mkdir()
    rng = np.random.default_rng(5)
    for number in range(8):
        photo = np.roll(make_photo(60, 80), 10 * number, axis=2)
        alpha = np.rint(cv2.blur(disc(60, 80), (5, 5)) * 255).astype(np.uint8)
        ground = rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "cutouts" / f"c{number}.png"), np.dstack([photo, alpha]))
        cv2.imwrite(str(folder / "photos" / f"p{number}.png"), photo)
        cv2.imwrite(str(folder / "masks" / f"p{number}.png"), alpha)
        cv2.imwrite(str(folder / "grounds" / f"g{number}.png"), ground)
    return folder


def _sources(pictures: ModuleType, folders: Path, half: int = 0):  # type: ignore[no-untyped-def]
    masked = [(folders / "photos", folders / "masks")]
    return pictures.find_sources([folders / "cutouts"], masked, [folders / "grounds"], half)


def test_a_seed_draws_one_picture(pictures: ModuleType, folders: Path) -> None:
    sources = _sources(pictures, folders)
    first, again, other = (pictures.draw(sources, seed, SMALL) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.alpha, again.alpha)
    assert first.traits == again.traits
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_truth_makes_the_picture(
    pictures: ModuleType, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where alpha is 1 the picture is the foreground, where it is 0 the ground: before JPEG."""
    composed = {}

    def keep(image, traits, rng):  # type: ignore[no-untyped-def]
        composed["image"] = image
        return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)

    monkeypatch.setattr(pictures, "_photograph", keep)
    sources, seen = _sources(pictures, folders), set()
    for seed in SEEDS:
        drawn = pictures.draw(sources, seed, SMALL)
        H, W = drawn.alpha.shape
        assert drawn.image.shape == drawn.foreground.shape == (H, W, 3)
        assert 0.7 * SMALL[0] * 1e6 < H * W < 1.3 * SMALL[1] * 1e6
        assert drawn.alpha.dtype == np.float32
        assert drawn.alpha.min() == 0
        assert drawn.alpha.max() == 1
        whole = drawn.alpha == 1
        assert np.array_equal(drawn.image[whole], drawn.foreground[whole])
        assert not drawn.foreground[drawn.alpha == 0].any()
        # What is left over, divided by 1 - alpha, is a ground: a colour between black and white
        share = drawn.alpha[..., None]
        rest = composed["image"] - drawn.foreground / np.float32(255) * share
        assert rest.min() > -1e-5
        assert (rest <= 1 - share + 1e-5).all()
        assert rest[whole] == pytest.approx(0, abs=1e-5)
        seen |= {f"{name}={value}" for name, value in drawn.traits.items()}
    wanted = {"subject=masked", "subject=cutout", "tone=light", "tone=dark", "thin=sticks",
              "strands=fur", "strands=hair", "ground=natural", "ground=studio"}  # fmt: skip
    assert wanted <= seen


def test_thin_parts_are_drawn_solid(pictures: ModuleType) -> None:
    alpha, colours = disc(360, 480), np.full((360, 480, 3), 0.5, np.float32)
    for seed in range(5):
        after, more = pictures._add_sticks(colours, alpha, np.random.default_rng(seed))
        added = (more > alpha + 0.5).astype(np.uint8)
        assert added.any()
        assert (more >= alpha).all()
        assert np.array_equal(after[more == 0], colours[more == 0])
        count, _ = cv2.connectedComponents((more > 0.2).astype(np.uint8))
        assert count == 2  # the ground and one subject: no part floats


def test_strands_only_add(pictures: ModuleType) -> None:
    alpha, colours = disc(120, 160), np.full((120, 160, 3), 0.5, np.float32)
    for kind in ("fur", "hair"):
        after, more = pictures._add_strands(colours, alpha, kind, np.random.default_rng(1))
        assert (more >= alpha - 1e-6).all()
        assert (more > alpha + 0.2).any()
        assert np.array_equal(after[alpha == 1], colours[alpha == 1])


def test_the_halves_share_nothing(pictures: ModuleType, folders: Path) -> None:
    first, second = (_sources(pictures, folders, half) for half in (0, 1))

    def names(sources) -> set[str]:  # type: ignore[no-untyped-def]
        cutouts = [path for files in sources.cutouts for path in files]
        photos = [image for image, _ in sources.masked]
        return {path.name for path in (*cutouts, *photos, *sources.backgrounds)}

    assert not names(first) & names(second)
    assert len(names(first) | names(second)) == 24


def test_parts_of_one_picture_stay_in_one_half(pictures: ModuleType, tmp_path: Path) -> None:
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"sea-part{number}.png"), np.zeros((4, 4, 3), np.uint8))
    found = []
    for half in (0, 1):
        try:
            found.append(len(pictures.find_sources([tmp_path], [], [tmp_path], half).backgrounds))
        except SystemExit:
            found.append(0)
    assert sorted(found) == [0, 6]


def test_what_it_writes_is_read_by_evaluate(
    pictures: ModuleType, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--cutouts", folders / "cutouts", "--backgrounds", folders / "grounds",
                 "--seed", 7, "--count", 2, "--megapixels", *SMALL]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["edges_pictures.py", *map(str, [tmp_path, *arguments])])
    pictures.main()
    samples = find_samples(tmp_path)
    assert [sample.name for sample in samples] == ["00007", "00008"]
    assert (tmp_path / "pictures.csv").read_text().count("\n") == 3
    drawn = pictures.draw(
        pictures.find_sources([folders / "cutouts"], [], [folders / "grounds"], 0), 7, SMALL
    )
    written = cv2.imread(str(samples[0].alpha), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(written, np.rint(drawn.alpha * 255))
    foreground = cv2.imread(str(samples[0].foreground), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(foreground[..., 2::-1], drawn.foreground)


def test_a_folder_without_images_is_named(pictures: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no image of half 1"):
        pictures.find_sources([tmp_path], [], [tmp_path], 1)
