"""The models that alphacut knows: one frozen entry each, to be read from top to bottom.

`scripts/list_models.py` makes MODELS.md from these entries.
"""

from alphacut.errors import UnknownName
from alphacut.models.entry import ModelSpec, Weights

# The 20 classes of Pascal VOC after the background, in the order of the logits
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip

_REMBG = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_HUGGING = "https://huggingface.co/"
_U2NET = "https://github.com/xuebinqin/U-2-Net (Qin et al. 2020, arXiv 2005.09007)"
_DUTS = (
    "The repository is Apache-2.0 and states no separate terms for the weights; trained on DUTS-TR."
)
_DIS = "https://github.com/xuebinqin/DIS (Qin et al. 2022, arXiv 2203.03041)"
_VISION = "https://github.com/pytorch/vision (Chen et al. 2017, arXiv 1706.05587)"
_COCO = "Trained on COCO images with the 20 classes of Pascal VOC; the weights ship with the code."

MODELS = (
    ModelSpec(
        name="u2net-lite",
        aliases=("u2netp",),
        arch="u2netp",
        input_size=(320, 320),
        # docs/log.md has the numbers for dividing by white without min-max normalisation. For the
        # authors' own masks: replace(entry, downscale="linear", divisor="max", min_max=True)
        divisor="white",
        min_max=False,
        weights={
            "onnx": Weights(  # tensors keep their state-dict names, so PyTorch reads them too
                file="u2net-lite.onnx",
                embedded=True,
                bytes=4_555_515,
                sha256="9e3e950c7499ba110ddd92f1f03dc353722b4c6a126d1efdac079e91bf263b92",
            ),
            "int8": Weights(  # made by evaluation/quantize.py; accuracy in docs/log.md
                file="u2net-lite-int8.onnx",
                embedded=True,
                bytes=1_312_968,
                sha256="9372601ab6975338180c1a482e695651531a6ce68a0acf8923fb052469b2f072",
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0",
        commercial="yes",
        note=_DUTS,
        source=_U2NET,
    ),
    ModelSpec(
        name="u2net",
        arch="u2net",
        input_size=(320, 320),
        divisor="max",
        min_max=True,
        weights={
            "onnx": Weights(
                file="u2net.onnx",
                bytes=175_997_641,
                sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
                urls=(_REMBG + "u2net.onnx",),
            ),
            "torch": Weights(
                file="u2net.pth",
                bytes=176_290_937,
                sha256="10025a17f49cd3208afc342b589890e402ee63123d6f2d289a4a0903695cce58",
                urls=(
                    _DRIVE + "1ao1ovG1Qtx4b7EoskHXmi2E9rp5CHLcZ",
                    _HUGGING + "Carve/u2net-universal/resolve/"
                    "10305d785481cf4b2eee1d447c39cd6e5f43d74b/full_weights.pth",
                ),
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0",
        commercial="yes",
        note=_DUTS,
        source=_U2NET,
    ),
    ModelSpec(
        name="u2net-human",
        aliases=("u2net_human_seg",),
        arch="u2net",
        input_size=(320, 320),
        divisor="max",
        min_max=True,
        weights={
            "onnx": Weights(
                file="u2net_human_seg.onnx",
                bytes=175_997_641,
                sha256="01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
                urls=(_REMBG + "u2net_human_seg.onnx",),
            ),
            "torch": Weights(
                file="u2net_human_seg.pth",
                bytes=176_315_793,
                sha256="13f0396e3f6fbc1d7ab55a8558640bef306a59b9110a5c595eb949ff69cf2414",
                urls=(_DRIVE + "1m_Kgs91b21gayc2XLW0ou8yugAIadWVP",),
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0, on non-commercial training data",
        commercial="unclear",
        note="The repository is Apache-2.0, but the training data, Supervisely Person, is licensed "
        "for non-commercial use only.",
        source=_U2NET,
    ),
    ModelSpec(
        name="silueta",
        arch=None,  # pruned: its channel counts are not U-2-Net's
        input_size=(320, 320),
        divisor="max",
        min_max=True,
        weights={
            "onnx": Weights(
                file="silueta.onnx",
                bytes=44_173_029,
                sha256="75da6c8d2f8096ec743d071951be73b4a8bc7b3e51d9a6625d63644f90ffeedb",
                urls=(_REMBG + "silueta.onnx",),
            ),
        },
        code_license="Apache-2.0",
        license="not stated",
        commercial="unclear",
        note="A pruned U-2-Net published with rembg; no terms are stated for the weights.",
        source="https://github.com/xuebinqin/U-2-Net/issues/295",
    ),
    ModelSpec(
        name="isnet",
        aliases=("isnet-general-use",),
        arch="isnet",
        input_size=(1024, 1024),
        mean=(0.5, 0.5, 0.5),
        std=(1.0, 1.0, 1.0),
        min_max=True,
        weights={
            "onnx": Weights(
                file="isnet-general-use.onnx",
                bytes=178_648_008,
                sha256="60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
                urls=(_REMBG + "isnet-general-use.onnx",),
            ),
        },
        code_license="Apache-2.0",
        license="not stated",
        commercial="unclear",
        note="No terms are stated for the weights. They were trained on DIS5K, whose terms forbid "
        "commercial use of its images.",
        source=_DIS,
    ),
    ModelSpec(
        name="isnet-anime",
        arch="isnet",
        input_size=(1024, 1024),
        std=(1.0, 1.0, 1.0),
        min_max=True,
        weights={
            "onnx": Weights(
                file="isnet-anime.onnx",
                bytes=176_069_933,
                sha256="f15622d853e8260172812b657053460e20806f04b9e05147d49af7bed31a6e99",
                urls=(_REMBG + "isnet-anime.onnx",),
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0",
        commercial="unclear",
        note="The authors' repository is Apache-2.0; the terms of the drawings it was trained on "
        "are unknown.",
        source="https://github.com/SkyTNT/anime-segmentation",
    ),
    ModelSpec(
        name="ormbg",
        arch="isnet",
        input_size=(1024, 1024),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        min_max=True,
        weights={
            "onnx": Weights(
                file="ormbg.onnx",
                bytes=176_182_050,
                sha256="89b47dd4fa46a76e91b06affeb5ec7881894a27792e41f7dfaf69987653f31d3",
                urls=(
                    _HUGGING + "schirrmacher/ormbg/resolve/"
                    "6253b318240ef7a8670017b88d242f9f87f5abeb/ormbg.onnx",
                ),
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0, on training data described inconsistently",
        commercial="unclear",
        note="The first model card lists synthetic images only; later ones add P3M-10k, AIM-500 "
        "and PPM-100, whose mattes are CC BY-NC-SA. The file is pinned, but its card is ambiguous.",
        source="https://huggingface.co/schirrmacher/ormbg",
    ),
    ModelSpec(
        name="rmbg-1.4",
        arch="isnet",
        input_size=(1024, 1024),
        mean=(0.5, 0.5, 0.5),
        std=(1.0, 1.0, 1.0),
        min_max=True,
        weights={
            "onnx": Weights(
                file="rmbg-1.4.onnx",
                bytes=176_153_355,
                sha256="8cafcf770b06757c4eaced21b1a88e57fd2b66de01b8045f35f01535ba742e0f",
                urls=(
                    _HUGGING + "briaai/RMBG-1.4/resolve/"
                    "2ceba5a5efaec153162aedea169f76caf9b46cf8/onnx/model.onnx",
                ),
            ),
            "torch": Weights(
                file="rmbg-1.4.pth",
                bytes=176_718_373,
                sha256="893c16c340b1ddafc93e78457a4d94190da9b7179149f8574284c83caebf5e8c",
                urls=(
                    _HUGGING + "briaai/RMBG-1.4/resolve/"
                    "2ceba5a5efaec153162aedea169f76caf9b46cf8/model.pth",
                ),
            ),
        },
        code_license="source-available",
        license="bria-rmbg-1.4, non-commercial",
        commercial="no",
        note="Non-commercial use only; commercial use requires an agreement with BRIA: "
        "https://bria.ai/bria-huggingface-model-license-agreement/",
        source="https://huggingface.co/briaai/RMBG-1.4",
    ),
    ModelSpec(
        name="deeplabv3-resnet101",
        aliases=("deeplabv3_resnet101", "deeplabv3"),
        arch="deeplabv3_resnet101",
        short_side=520,
        output="logits",
        classes=VOC_CLASSES,
        weights={
            "torch": Weights(
                file="deeplabv3_resnet101_coco-586e9e4e.pth",
                bytes=244_545_539,
                sha256="586e9e4e203fcbf17e1ad45533d8d33ab133fc762bf03101c5dd743995c08c0d",
                urls=("https://download.pytorch.org/models/deeplabv3_resnet101_coco-586e9e4e.pth",),
            ),
        },
        code_license="BSD-3-Clause",
        license="BSD-3-Clause",
        commercial="yes",
        note=_COCO,
        source=_VISION,
    ),
    ModelSpec(
        name="deeplabv3-resnet50",
        aliases=("deeplabv3_resnet50",),
        arch="deeplabv3_resnet50",
        short_side=520,
        output="logits",
        classes=VOC_CLASSES,
        weights={
            "torch": Weights(
                file="deeplabv3_resnet50_coco-cd0a2569.pth",
                bytes=168_312_152,
                sha256="cd0a25694c4a0f7106b38f4938bf90a874f2f241cc410b8f63c7024399538f06",
                urls=("https://download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth",),
            ),
        },
        code_license="BSD-3-Clause",
        license="BSD-3-Clause",
        commercial="yes",
        note=_COCO,
        source=_VISION,
    ),
    ModelSpec(
        name="alphacut-lite",
        arch="alphacut_lite",
        input_size=(320, 320),
        mean=(127 / 255,) * 3,  # EfficientNet-Lite's
        std=(128 / 255,) * 3,
        weights={"onnx": Weights(file="alphacut-lite.onnx")},  # none yet: they are added by hand
        code_license="Apache-2.0",
        license="those of whoever trains them",
        commercial="unclear",
        note="A network of alphacut's own that is still being trained: no weights are published. "
        "recipes/alphacut-lite-taught.toml makes them; docs/log.md says how far they are.",
        source="recipes/alphacut-lite-taught.toml (encoder: Tan and Le 2019, arXiv 1905.11946)",
    ),
    ModelSpec(
        name="indexnet",
        arch="indexnet",
        multiple=32,
        output="alpha",
        weights={
            "onnx": Weights(  # tensors keep their state-dict names, so PyTorch reads them too
                file="indexnet.onnx",
                package="alphacut_indexnet",
                bytes=11_984_019,
                sha256="c399e19b1cc7e3935cc5f5f815f24d4d66f0f09d25e664701b117f8879bbb748",
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0",
        commercial="yes",
        note="Trained by this project without Adobe's data, on a few small images, hardly any with "
        "hair. See docs/models/indexnet.md for data and results.",
        source="recipes/indexnet-composites.toml (network: Lu et al. 2019, arXiv 1908.00672)",
    ),
    ModelSpec(
        name="indexnet-adobe",
        aliases=("indexnet_matting",),
        arch="indexnet",
        multiple=32,
        output="alpha",
        weights={
            # no checksum is published, so users add the file by hand
            "torch": Weights(file="indexnet_matting.pth.tar"),
        },
        code_license="non-commercial",
        license="non-commercial (trained on Adobe's matting data set)",
        commercial="no",
        note="The authors and Adobe permit non-commercial use only. The weights are the authors'; "
        "alphacut's network code is its own, written from a description of the network.",
        source="https://github.com/poppinace/indexnet_matting (Lu et al. 2019, arXiv 1908.00672)",
    ),
)


def known_model(name: str) -> ModelSpec | None:
    """Return the entry with this name or alias, in any spelling; None if there is none."""
    wanted = fold(name)
    return next((spec for spec in MODELS if wanted in map(fold, (spec.name, *spec.aliases))), None)


def fold(name: str) -> str:
    """Return one spelling for all of a name, which differ in case, hyphens and underscores."""
    return name.casefold().replace("_", "-")


def choose_classes(spec: ModelSpec, names: str) -> tuple[int, ...]:
    """Return the indices of the logits that count as subject.

    Args:
        spec: The model's entry.
        names: Comma-separated class names; empty for every class but the background.

    Raises:
        UnknownName: if the model has no such class, or no classes at all.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted and not spec.classes:
        with_classes = (spec.name for spec in MODELS if spec.classes)
        raise UnknownName("model with classes", spec.name, with_classes)
    for name in wanted:
        if name not in spec.classes[1:]:
            raise UnknownName("class", name, spec.classes[1:])
    return tuple(spec.classes.index(name) for name in wanted or spec.classes[1:])
