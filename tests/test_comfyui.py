"""ComfyUI's nodes by its contract: tensors of its layout in and out, and how nodes are declared."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "integrations" / "comfyui"


@pytest.fixture(scope="module")
def comfy() -> ModuleType:
    """Load the folder as ComfyUI does: as a package under a name of its own."""
    spec = importlib.util.spec_from_file_location(
        "comfy_alphacut", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["comfy_alphacut"] = module
    spec.loader.exec_module(module)
    return module


def photo(size: tuple[int, int] = (120, 96)) -> Any:
    with PIL.Image.open(ROOT / "examples" / "astronaut.png") as image:
        array = np.asarray(image.convert("RGB").resize(size), np.float32) / 255
    return torch.from_numpy(array)


def call(comfy: ModuleType, name: str, **inputs: Any) -> tuple[Any, ...]:
    """Call a node as ComfyUI does, and check what it returns."""
    node = comfy.NODE_CLASS_MAPPINGS[name]
    declared = node.INPUT_TYPES()
    known = {**declared["required"], **declared.get("optional", {})}
    assert set(declared["required"]) <= set(inputs) <= set(known)
    results = getattr(node(), node.FUNCTION)(**inputs)
    assert len(results) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    for kind, result in zip(node.RETURN_TYPES, results, strict=True):
        assert result.dtype == torch.float32
        assert result.ndim == {"IMAGE": 4, "MASK": 3}[kind]
        assert kind == "MASK" or result.shape[-1] == 3
        assert 0 <= float(result.min()) <= float(result.max()) <= 1
    assert results[0].shape[:3] == results[1].shape
    return results


def test_nodes_are_declared(comfy: ModuleType) -> None:
    assert set(comfy.NODE_CLASS_MAPPINGS) == set(comfy.NODE_DISPLAY_NAME_MAPPINGS)
    for node in comfy.NODE_CLASS_MAPPINGS.values():
        for name, (kind, *facts) in node.INPUT_TYPES()["required"].items():
            assert isinstance(kind, list) or kind in ("IMAGE", "MASK", "INT", "STRING", "BOOLEAN")
            assert isinstance(kind, list) or kind in ("IMAGE", "MASK") or "default" in facts[0], (
                name
            )


def test_remove_background(comfy: ModuleType) -> None:
    batch = torch.stack([photo(), photo()])
    before = batch.clone()
    foreground, mask = call(
        comfy, "AlphacutRemoveBackground", image=batch, model="u2net-lite", quality="fast"
    )
    assert mask.shape == (2, 96, 120)
    assert 0.1 < float(mask[0].mean()) < 0.9
    assert float((mask[0] - mask[1]).abs().max()) < 0.01
    assert torch.equal(batch, before)
    inside = mask[0] == 1
    assert float((foreground[0][inside] - batch[0][inside]).abs().max()) <= 1 / 255


def test_refine_edges_finds_alpha_and_colours(comfy: ModuleType) -> None:
    """A green disc on red with a soft edge, from a hard mask: the red must go."""
    y, x = np.mgrid[:96, :120].astype(np.float32)
    alpha = np.clip((30 - np.hypot(y - 48, x - 60)) / 8 + 0.5, 0, 1).astype(np.float32)
    green, red = np.float32([0.1, 0.8, 0.2]), np.float32([0.9, 0.1, 0.1])
    image = torch.from_numpy(alpha[..., None] * green + (1 - alpha[..., None]) * red)[None]
    hard = torch.from_numpy((alpha > 0.5).astype(np.float32))[None]
    soft = torch.from_numpy((alpha > 0) & (alpha < 1))
    for method in ("fast", "closed-form"):
        foreground, mask = call(
            comfy, "AlphacutRefineEdges", image=image, mask=hard, method=method, band_px=10
        )
        error = (mask[0] - torch.from_numpy(alpha))[soft].abs().mean()
        assert float(error) < float((hard[0] - torch.from_numpy(alpha))[soft].abs().mean()) / 2
        seen = soft & (mask[0] > 0.3)
        fringe = (foreground[0] - torch.from_numpy(green))[seen].abs().mean()
        assert float(fringe) < float((image[0] - torch.from_numpy(green))[seen].abs().mean()) / 2
    same = call(comfy, "AlphacutRefineEdges", image=image, mask=1 - hard, method="fast",
                band_px=10, inverted=True)  # fmt: skip
    other = call(comfy, "AlphacutRefineEdges", image=image, mask=hard, method="fast", band_px=10)
    assert torch.equal(same[1], other[1])
    given = torch.from_numpy(alpha)[None]
    exact, kept = call(
        comfy, "AlphacutRefineEdges", image=image, mask=given, method="colours only", band_px=10
    )
    assert torch.equal(kept[0], torch.from_numpy(alpha))
    seen = soft & (kept[0] > 0.3)
    assert float((exact[0] - torch.from_numpy(green))[seen].abs().mean()) < 0.06


def test_one_mask_for_many_images_and_wrong_ones(comfy: ModuleType) -> None:
    batch = torch.stack([photo()] * 2)
    mask = torch.zeros(1, 96, 120)
    mask[:, 30:60, 40:80] = 1
    settings: dict[str, Any] = {"method": "fast", "band_px": 3}
    assert len(call(comfy, "AlphacutRefineEdges", image=batch, mask=mask, **settings)[1]) == 2
    empty = call(comfy, "AlphacutRefineEdges", image=batch, mask=mask * 0, **settings)[1]
    assert float(empty.max()) == 0
    with pytest.raises(ValueError, match="the mask is 50 x 40 pixels, the image 120 x 96"):
        call(comfy, "AlphacutRefineEdges", image=batch, mask=torch.zeros(1, 40, 50), **settings)
    with pytest.raises(ValueError, match="3 masks for 2 images"):
        call(comfy, "AlphacutRefineEdges", image=batch, mask=torch.zeros(3, 96, 120), **settings)


def test_compose(comfy: ModuleType) -> None:
    foreground = torch.full((1, 96, 120, 3), 0.2)
    mask = torch.zeros(1, 96, 120)
    mask[:, 30:60, 40:80] = 1
    settings: dict[str, Any] = {
        "foreground": foreground, "mask": mask, "background": "white", "shadow": "none",
        "crop": False, "margin": "0", "preset": "none", "size": "",
    }  # fmt: skip
    image, alpha = call(comfy, "AlphacutCompose", **settings)
    assert torch.equal(alpha, mask)
    assert float(image[0, 0, 0].min()) == 1
    assert float(image[0, 45, 60].max()) == pytest.approx(0.2, abs=1 / 255)
    cropped, alpha = call(comfy, "AlphacutCompose", **{**settings, "crop": True})
    assert cropped.shape == (1, 30, 40, 3)
    assert float(alpha.min()) == 1
    sized, _ = call(comfy, "AlphacutCompose", **{**settings, "preset": "product", "size": "64x64"})
    assert sized.shape == (1, 64, 64, 3)
    shaded, _ = call(comfy, "AlphacutCompose", **{**settings, "shadow": "drop"})
    assert float((shaded - image).abs().max()) > 0.1
    ground = torch.zeros(1, 50, 60, 3)
    ground[..., 2] = 1
    on, _ = call(comfy, "AlphacutCompose", **settings, background_image=ground)
    assert on[0, 0, 0].tolist() == [0, 0, 1]
