import dataclasses
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from alphacut import Remover
from alphacut.errors import OptionError, UnknownName
from alphacut.models import catalogue, nets, weights
from alphacut.models.entry import ModelSpec

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("spec", catalogue.MODELS, ids=lambda spec: spec.name)
def test_entries_are_sound(spec: ModelSpec) -> None:
    assert spec.weights
    assert bool(spec.classes) == (spec.output == "logits")
    assert spec.input_size is None or spec.short_side is None
    assert spec.commercial == "yes" or spec.note
    assert spec.good_for
    # the authors' licence decides, not the training data's, which the note names
    assert (spec.commercial == "unclear") == (
        spec.license in ("not stated", "those of whoever trains them")
    )
    for file in spec.weights.values():
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.embedded or file.package or file.urls or file.sha256 is None
        assert all(url.startswith("https://") for url in file.urls)


@pytest.mark.parametrize("name", ["RMBG-1.4", "rmbg_1.4", "Deeplabv3-ResNet101", "U2NETP"])
def test_names_are_found_whatever_their_spelling(name: str) -> None:
    spec = catalogue.known_model(name)
    assert spec is not None
    assert spec.name in ("rmbg-1.4", "deeplabv3-resnet101", "u2net-lite")


def test_every_network_can_be_built() -> None:
    assert {spec.arch for spec in catalogue.MODELS} - {None} == set(nets.ARCHITECTURES)


def test_names_and_files_are_unique() -> None:
    names = [name for spec in catalogue.MODELS for name in (spec.name, *spec.aliases)]
    assert len(names) == len(set(names))
    files = [file.file for spec in catalogue.MODELS for file in spec.weights.values()]
    assert len(files) == len(set(files))


@pytest.mark.parametrize(
    ("other", "ours"),
    [
        ("u2netp", "u2net-lite"),
        ("u2net_human_seg", "u2net-human"),
        ("isnet-general-use", "isnet"),
        ("birefnet-general", "birefnet"),
        ("birefnet-general-lite", "birefnet-lite"),
        ("birefnet-portrait", "birefnet-portrait"),
        ("ben2", "ben2"),
        ("vitmatte", "vitmatte-small"),
    ],
)
def test_other_programs_names_are_known(other: str, ours: str) -> None:
    assert weights.find_model(other) is weights.find_model(ours)


def test_terms_are_told_as_they_are() -> None:
    assert {spec.name for spec in catalogue.MODELS if spec.commercial == "no"} == {
        "rmbg-1.4",
        "indexnet-adobe",
    }
    assert "non-commercial" in weights.terms(weights.find_model("u2net-human"))
    assert "CC BY-NC-SA" in weights.terms(weights.find_model("ormbg"))


def test_models_page_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "list_models.py"))["page"]()
    assert (ROOT / "MODELS.md").read_text(encoding="utf-8") == made, "run scripts/list_models.py"


def test_comparison_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "list_models.py"))["table"]()
    text = (ROOT / "docs" / "models" / "README.md").read_text(encoding="utf-8")
    assert made in text, "run scripts/list_models.py"


def test_classes() -> None:
    deeplab = weights.find_model("deeplabv3")
    assert [deeplab.classes[i] for i in (0, 2, 3, 7, 8, 12, 13, 15)] == [
        "background", "bicycle", "bird", "car", "cat", "dog", "horse", "person",
    ]  # fmt: skip
    assert catalogue.choose_classes(deeplab, "person, dog") == (15, 12)
    assert catalogue.choose_classes(deeplab, "") == tuple(range(1, 21))
    with pytest.raises(UnknownName, match="unknown class 'unicorn': choose one of aeroplane"):
        catalogue.choose_classes(deeplab, "unicorn")
    with pytest.raises(UnknownName, match="unknown class 'background'"):
        catalogue.choose_classes(deeplab, "background")
    with pytest.raises(UnknownName, match="unknown model with classes 'u2net'"):
        catalogue.choose_classes(weights.find_model("u2net"), "person")


def test_a_matting_model_finds_no_subjects() -> None:
    with pytest.raises(UnknownName, match="unknown model that finds subjects 'indexnet'"):
        Remover("indexnet")


class Voc:
    """A runtime whose logits say: left a person, right a dog, both surely; above, background."""

    device = "here"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        n, _, h, w = batch.shape
        self.size = (h, w)
        logits = np.zeros((n, 21, h, w), np.float32)
        logits[:, 0, : h // 2] = 9
        logits[:, 15, h // 2 :, : w // 2] = 9
        logits[:, 12, h // 2 :, w // 2 :] = 9
        return logits


def test_chosen_classes_are_cut_out() -> None:
    voc = Voc()
    image = np.full((40, 60, 3), 99, np.uint8)

    def cut(**options: object) -> np.ndarray:
        return Remover("deeplabv3", network=voc, matting="none", **options)(image).alpha

    everything = cut(short_side=0)
    assert voc.size == (40, 60)
    assert everything[20:].min() == 1
    assert everything[:20].max() == 0
    person = cut(short_side=0, classes="person")
    assert person[20:, :30].min() == 1
    assert person[20:, 30:].max() == 0
    soft = cut(short_side=0, classes="person", class_mask="soft")
    np.testing.assert_allclose(soft[30, 10], np.exp(9) / (np.exp(9) + 20), rtol=1e-4)
    cut()
    assert voc.size == (520, 780)
    with pytest.raises(UnknownName, match="unknown class 'unicorn'"):
        cut(classes="unicorn")
    with pytest.raises(OptionError, match="short_side 7: give 0, or 32 or more"):
        cut(short_side=7)


def test_adding_a_model_is_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A known architecture: one entry, and it runs by name, is listed and documented."""
    lite = weights.find_model("u2net-lite")
    new = dataclasses.replace(lite, name="new", aliases=("newer",), note="An entry of one's own.")
    monkeypatch.setattr(catalogue, "MODELS", (*catalogue.MODELS, new))
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path))
    image = np.zeros((64, 96, 3), np.uint8)
    image[16:48, 32:64] = 200
    by_entry, by_name = Remover("newer")(image), Remover("u2net-lite")(image)
    np.testing.assert_array_equal(by_entry.alpha, by_name.alpha)
    assert new in weights.models()
    page = runpy.run_path(str(ROOT / "scripts" / "list_models.py"))["page"]()
    assert "## new\n\nAn entry of one's own." in page
