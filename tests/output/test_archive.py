import io
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest

from alphacut.cutout import Cutout
from alphacut.errors import OutputError
from alphacut.output.encode import save_image


def cutout(dtype: type = np.uint8) -> Cutout:
    y, x = np.mgrid[:20, :30]
    foreground = np.stack([x * 8, y * 12, x + y], 2).astype(dtype)
    foreground *= dtype(257 if dtype == np.uint16 else 1)
    alpha = np.clip((9 - np.hypot(y - 10, x - 15)) / 2, 0, 1).astype(np.float32)
    return Cutout(foreground, alpha, alpha)


def opened(archive: zipfile.ZipFile, name: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(archive.read(name)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zip_of_colour_and_alpha(tmp_path: Path, dtype: type) -> None:
    path = cutout(dtype).save(tmp_path / "cut.zip", file_quality=100)
    with zipfile.ZipFile(path) as archive:
        assert [entry.filename for entry in archive.infolist()] == ["color.jpg", "alpha.png"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        colour, alpha = opened(archive, "color.jpg"), opened(archive, "alpha.png")
        assert (colour.format, colour.mode, colour.size) == ("JPEG", "RGB", (30, 20))
        assert (alpha.format, alpha.mode, alpha.size) == ("PNG", "L", (30, 20))
        np.testing.assert_array_equal(np.asarray(alpha), np.rint(cutout().alpha * 255))
        # hidden pixels keep their colour too
        assert np.abs(np.asarray(colour).astype(int) - cutout().foreground).mean() < 3


def test_zip_of_a_composite(tmp_path: Path) -> None:
    path = cutout().save(tmp_path / "cut.zip", background="#ff0000", crop=True)
    with zipfile.ZipFile(path) as archive:
        assert (np.asarray(opened(archive, "alpha.png")) == 255).all()
        corner = np.array(opened(archive, "color.jpg").getpixel((0, 0)))
        assert np.abs(corner - (255, 0, 0)).max() < 10
    path = cutout().save(tmp_path / "cut.zip", background="#ff000080")
    with zipfile.ZipFile(path) as archive:
        assert opened(archive, "alpha.png").getpixel((0, 0)) == 128


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_openraster_layers(tmp_path: Path, dtype: type) -> None:
    cut = cutout(dtype)
    path = cut.save(tmp_path / "cut.ora", background="white", shadow="drop")
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert archive.read("mimetype") == b"image/openraster"
        root = ElementTree.fromstring(archive.read("stack.xml"))
        assert (root.get("w"), root.get("h")) == ("30", "20")
        layers = list(root.iter("layer"))
        assert [layer.get("name") for layer in layers] == ["subject", "shadow", "background"]
        merged = opened(archive, "mergedimage.png").convert("RGB")
        stacked = PIL.Image.new("RGBA", (30, 20))
        for layer in reversed(layers):
            stacked.alpha_composite(opened(archive, str(layer.get("src"))).convert("RGBA"))
        error = np.abs(np.asarray(stacked.convert("RGB")).astype(int) - np.asarray(merged))
        assert error.max() <= 2
        assert max(opened(archive, "Thumbnails/thumbnail.png").size) <= 256


def test_what_an_archive_cannot_hold(tmp_path: Path) -> None:
    for name in ("cut.zip", "cut.ora"):
        with pytest.raises(OutputError, match="whole cut-out, not the mask"):
            cutout().save(tmp_path / name, result="mask")
        with pytest.raises(OutputError, match=r"Cutout\.save"):
            save_image(tmp_path / name, cutout().foreground)
    assert not list(tmp_path.iterdir())
