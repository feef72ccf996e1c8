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
_BIREFNET = "https://github.com/ZhengPeng7/BiRefNet (Zheng et al. 2024, arXiv 2401.03407)"
_BIREFNET_V1 = "https://github.com/ZhengPeng7/BiRefNet/releases/download/v1/"
_BIREFNET_TERMS = (
    "The author says that MIT covers the weights (BiRefNet#316), and that DIS5K and other training "
    "sets restrict commercial use of their images (BiRefNet#306)."
)
_INSPYRENET = "https://github.com/plemeri/InSPyReNet (Kim et al. 2022, arXiv 2209.09475)"
_INSPYRENET_TERMS = (
    "The repository, which publishes the weights, is MIT; their training sets include DIS5K, whose "
    "terms forbid commercial use of its images."
)
_MOBILE_SAM = _HUGGING + "Acly/MobileSAM/resolve/0d3b403339b4674a82493d5e97964dd78089ddc8/"
_DIS = "https://github.com/xuebinqin/DIS (Qin et al. 2022, arXiv 2203.03041)"
_VISION = "https://github.com/pytorch/vision (Chen et al. 2017, arXiv 1706.05587)"
_COCO = "Trained on COCO images with the 20 classes of Pascal VOC; the weights ship with the code."

MODELS = (
    ModelSpec(
        name="alphacut-lite",
        arch="alphacut_lite",
        input_size=(320, 320),
        divisor="white",
        weights={
            "onnx": Weights(
                file="alphacut-lite.onnx",
                embedded=True,
                bytes=7_861_787,
                sha256="2443bed29ef14cfbbdd126bd59a86946fbf472c522ca37f4e4b5321661663a5f",
            ),
            "int8": Weights(  # its first look; both files by scripts/embed_lite.py
                file="alphacut-lite-int8.onnx",
                embedded=True,
                bytes=4_580_022,
                sha256="86e44931a84cd143753ec63b0d702d0c9f56a8b4c8e5953178b6b4741e067e38",
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0",
        commercial="yes",
        note="U-2-Net-lite's own weights, and a second look trained by this project, from "
        "EfficientNet-Lite0's, with photographs under free licences and masks of IS-Net. See "
        "docs/models/alphacut-lite.md for data and results.",
        good_for="people, animals, objects; fast and small",
        source="recipes/alphacut-lite-taught.toml (first look: Qin et al. 2020, arXiv 2005.09007; "
        "encoder: Tan and Le 2019, arXiv 1905.11946)",
    ),
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
        good_for="alphacut-lite's first look alone: rembg's u2netp",
        scores="DUT-OMRON max F .813",
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
        good_for="as u2net-lite, with finer outlines",
        scores="DUT-OMRON max F .823",
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
        license="Apache-2.0",
        commercial="yes",
        note="The repository is Apache-2.0 and states no separate terms for the weights; the "
        "training data, Supervisely Person, is licensed for non-commercial use only.",
        good_for="people",
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
        good_for="as u2net, in a quarter of its size",
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
        bf16_loss=2e-4,  # docs/log.md
        code_license="Apache-2.0",
        license="not stated",
        commercial="unclear",
        note="No terms are stated for the weights: the repository's Apache-2.0 is for code and "
        "metrics only (DIS#150). They were trained on DIS5K, whose terms forbid commercial use of "
        "its images.",
        good_for="objects with fine parts, at 1024 pixels",
        scores="DIS-VD max F .791",
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
        commercial="yes",
        note="The authors' repository is Apache-2.0; the terms of the drawings it was trained on "
        "are unknown.",
        good_for="drawn characters",
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
        license="Apache-2.0",
        commercial="yes",
        note="The first model card lists synthetic images only; later ones add P3M-10k, AIM-500 "
        "and PPM-100, whose mattes are CC BY-NC-SA. The file is pinned.",
        good_for="people, at 1024 pixels",
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
        good_for="people and products, at 1024 pixels",
        source="https://huggingface.co/briaai/RMBG-1.4",
    ),
    ModelSpec(
        name="birefnet-lite",
        aliases=("birefnet-general-lite",),
        arch="birefnet_lite",
        arch_options={"patch_order": "column"},
        input_size=(1024, 1024),
        multiple=64,
        sigmoid=True,
        weights={
            "onnx": Weights(
                file="birefnet-lite.onnx",
                bytes=180_839_545,
                sha256="1e0da42f0fde010e32e938bad388457ecefe35806fde9d923421997861ae9391",
                urls=(
                    _HUGGING + "senty-au/BiRefNet_lite-ONNX-dynamic/resolve/"
                    "173d635935b93839608b9b9039da8d1d212471e9/onnx/model.onnx",
                ),
            ),
            "torch": Weights(
                file="BiRefNet-general-bb_swin_v1_tiny-epoch_232.pth",
                bytes=177_791_685,
                sha256="6a1e050c6ec2697e5ed268455df544782b023acf8643ab771250979094875ab1",
                urls=(_BIREFNET_V1 + "BiRefNet-general-bb_swin_v1_tiny-epoch_232.pth",),
            ),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_BIREFNET_TERMS,
        good_for="people, animals, objects; fine parts, on a laptop",
        source=_BIREFNET,
    ),
    ModelSpec(
        name="birefnet-lite-512",
        arch="birefnet_lite",
        arch_options={"patch_order": "column"},
        input_size=(512, 512),
        multiple=64,
        sigmoid=True,
        weights={
            "onnx": Weights(
                file="birefnet-lite-512.onnx",
                bytes=191_877_254,
                sha256="1cb0fb360dadd15af77c639085d77a9df67db0c64315560c3de005f676345ac2",
                urls=(
                    _HUGGING + "studioludens/birefnet-lite-512/resolve/"
                    "4a3c40c36c94093cc1e724d9ea428b8fa4b57dc7/onnx/model.onnx",
                ),
            ),
            "fp16": Weights(
                file="birefnet-lite-512-fp16.onnx",
                bytes=98_484_532,
                sha256="eff9216bb2f9d3f023d9c2b7196845a7485739ab1f231593633e4d2344ffc516",
                urls=(
                    _HUGGING + "studioludens/birefnet-lite-512/resolve/"
                    "4a3c40c36c94093cc1e724d9ea428b8fa4b57dc7/onnx/model_fp16.onnx",
                ),
            ),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_BIREFNET_TERMS,
        good_for="as birefnet-lite, on small machines",
        source=_BIREFNET,
    ),
    ModelSpec(
        name="birefnet",
        aliases=("birefnet-general",),
        arch="birefnet",
        arch_options={"patch_order": "column"},
        input_size=(1024, 1024),
        multiple=32,
        sigmoid=True,
        weights={
            "onnx": Weights(
                file="BiRefNet-general-epoch_244.onnx",
                bytes=972_666_916,
                sha256="58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
                urls=(_REMBG + "BiRefNet-general-epoch_244.onnx",),
            ),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_BIREFNET_TERMS,
        good_for="people, animals, objects; fine parts",
        scores="DIS-VD S .911, weighted F .875",
        source=_BIREFNET,
    ),
    ModelSpec(
        name="birefnet-portrait",
        arch="birefnet",
        arch_options={"patch_order": "column"},
        input_size=(1024, 1024),
        multiple=32,
        output="matte",
        sigmoid=True,
        weights={
            "onnx": Weights(
                file="BiRefNet-portrait-epoch_150.onnx",
                bytes=972_666_916,
                sha256="1ba1c8ff5a7bbfadc8d8d13fb11d7be793f91f23d9d466549e37a854f6668f99",
                urls=(_REMBG + "BiRefNet-portrait-epoch_150.onnx",),
            ),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_BIREFNET_TERMS,
        good_for="portraits",
        scores="P3M-500-P S .983, MAE .006",
        source=_BIREFNET,
    ),
    ModelSpec(
        name="birefnet-matting",
        arch="birefnet",
        arch_options={"patch_order": "column"},
        input_size=(1024, 1024),
        multiple=32,
        output="matte",
        sigmoid=True,
        weights={
            "onnx": Weights(
                file="BiRefNet-matting-epoch_100.onnx",
                bytes=972_667_742,
                sha256="6065d27c615ea27308f5b88598dd8db116eb07436c7a323ca40d13b2866c309e",
                urls=(_BIREFNET_V1 + "BiRefNet-matting-epoch_100.onnx",),
            ),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_BIREFNET_TERMS,
        good_for="hair, fur, half-transparent parts",
        scores="AM-2k S .973",
        source=_BIREFNET,
    ),
    ModelSpec(
        name="birefnet-hr-matting",
        arch="birefnet",
        arch_options={"patch_order": "row"},
        input_size=(2048, 2048),
        multiple=32,
        output="matte",
        sigmoid=True,
        weights={
            "onnx": Weights(
                file="BiRefNet_HR-matting-epoch_135.onnx",
                bytes=1_098_928_867,
                sha256="45b7d92ce0e2e75e1c8a564a9e84c87ac9da7f4315d2deeef3674864e809aef3",
                urls=(_BIREFNET_V1 + "BiRefNet_HR-matting-epoch_135.onnx",),
            ),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_BIREFNET_TERMS,
        good_for="hair and fur of large pictures",
        scores="AM-2k MAE .002",
        source=_BIREFNET,
    ),
    ModelSpec(
        name="ben2",
        arch=None,
        input_size=(1024, 1024),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        min_max=True,
        output="matte",
        weights={
            "onnx": Weights(
                file="BEN2_Base.onnx",
                bytes=222_932_053,
                sha256="22cea62108ff53b7ccc20f7a008bf30494228d84b1687f29ecbe76936a998101",
                urls=(
                    _HUGGING + "PramaLLC/BEN2/resolve/"
                    "e48a20765fb421d19dcdb0bf3cc61e802ca5ec8f/BEN2_Base.onnx",
                ),
            ),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note="The base network is MIT, its training data partly unpublished; a larger network is "
        "sold.",
        good_for="people and objects; hair",
        scores="DIS-VD max F .919",
        source="https://huggingface.co/PramaLLC/BEN2 (arXiv 2501.06230)",
    ),
    ModelSpec(
        name="inspyrenet",
        arch="inspyrenet_swinb",
        arch_options={"base_size": 1024},
        input_size=(1024, 1024),
        multiple=32,
        sigmoid=True,
        min_max=True,
        weights={
            # no SHA-256 is published, so users add the file by hand
            "torch": Weights(file="ckpt_base.pth", md5="d692e3dd5fa1b9658949d452bebf1cda"),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_INSPYRENET_TERMS,
        good_for="people, animals, objects; transparent-background's network",
        source=_INSPYRENET,
    ),
    ModelSpec(
        name="inspyrenet-fast",
        arch="inspyrenet_swinb",
        arch_options={"base_size": 384},
        input_size=(384, 384),
        multiple=32,
        sigmoid=True,
        min_max=True,
        weights={
            # no SHA-256 is published, so users add the file by hand
            "torch": Weights(file="ckpt_fast.pth", md5="9efdbfbcc49b79ef0f7891c83d2fd52f"),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_INSPYRENET_TERMS,
        good_for="as inspyrenet, quicker",
        source=_INSPYRENET,
    ),
    ModelSpec(
        name="inspyrenet-res2net50",
        arch="inspyrenet_res2net50",
        arch_options={"base_size": 384},
        input_size=(384, 384),
        multiple=32,
        sigmoid=True,
        min_max=True,
        weights={
            # no SHA-256 is published, so users add the file by hand
            "torch": Weights(file="inspyrenet_res2net50.pth"),
        },
        code_license="MIT",
        license="MIT",
        commercial="yes",
        note=_INSPYRENET_TERMS,
        good_for="as inspyrenet, on small machines",
        source=_INSPYRENET,
    ),
    ModelSpec(
        name="modnet",
        arch="modnet",
        short_side=512,
        multiple=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        output="matte",
        weights={
            "onnx": Weights(
                file="modnet_photographic_portrait_matting.onnx",
                bytes=25_888_640,
                sha256="07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9",
                urls=(
                    "https://github.com/Zeyi-Lin/HivisionIDPhotos/releases/download/"
                    "pretrained-model/modnet_photographic_portrait_matting.onnx",
                ),
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0",
        commercial="yes",
        note="The authors have licensed code and weights Apache-2.0 since 2022; part of the "
        "training data is unpublished.",
        good_for="portraits, on small machines",
        scores="PPM-100 MAD .0086",
        source="https://github.com/ZHKKKe/MODNet (Ke et al. 2022, arXiv 2011.11961)",
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
        good_for="20 classes, such as person, cat or car; coarse outlines",
        scores="mean IoU 67.4 (COCO val2017, VOC classes)",
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
        good_for="as deeplabv3-resnet101, quicker",
        scores="mean IoU 66.4 (COCO val2017, VOC classes)",
        source=_VISION,
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
        "hair; some of them are GPL or CC BY-SA works. See docs/models/indexnet.md for data and "
        "results.",
        good_for="edges within a trimap, hard and soft",
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
        good_for="edges within a trimap",
        scores="Composition-1k SAD 45.8",
        source="https://github.com/poppinace/indexnet_matting (Lu et al. 2019, arXiv 1908.00672)",
    ),
    ModelSpec(
        name="vitmatte-small",
        aliases=("vitmatte",),
        arch="vitmatte_s",
        input_size=(1024, 1024),
        output="alpha",
        weights={
            "onnx": Weights(
                file="vitmatte-small-distinctions-646.onnx",
                bytes=114_423_212,
                sha256="d232841ac9d9657df3e62f6c92ed425ee25df18d337245cd8b903fc1ba183631",
                urls=(_REMBG + "vitmatte-small-distinctions-646.onnx",),
            ),
        },
        code_license="MIT",
        license="not stated",
        commercial="unclear",
        note="The repository is MIT; whether that covers the weights was asked in ViTMatte#9. They "
        "were trained on Distinctions-646, which is for research.",
        good_for="edges within a trimap: hair and fur",
        scores="Composition-1k SAD 21.5",
        source="https://github.com/hustvl/ViTMatte (Yao et al. 2023, arXiv 2305.15272)",
    ),
    ModelSpec(
        name="mobile-sam",
        arch="mobile_sam",
        input_size=(1024, 1024),
        output="masks",
        weights={
            "onnx": Weights(  # the encoder
                file="mobile_sam_image_encoder.onnx",
                bytes=28_157_093,
                sha256="580f5fb648ea1062c0aabc26217aed56921985f03f0cbbd852bba81d760cc749",
                urls=(_MOBILE_SAM + "mobile_sam_image_encoder.onnx",),
            ),
            "decoder": Weights(
                file="sam_mask_decoder_multi.onnx",
                bytes=16_496_559,
                sha256="8976b90a87ba50a6a72217a5ff994f7d25ce16f2229fcc1ed259e1294c622ffe",
                urls=(_MOBILE_SAM + "sam_mask_decoder_multi.onnx",),
            ),
        },
        code_license="Apache-2.0",
        license="Apache-2.0",
        commercial="yes",
        note="Taught by Segment Anything, Apache-2.0 too, on a hundredth of SA-1B, whose pictures "
        "are for research.",
        good_for="what a click or a box shows",
        source="https://github.com/ChaoningZhang/MobileSAM (arXiv 2306.14289, 2304.02643)",
    ),
)


# Which model does better than another where it is in doubt, by what each is good for
_BETTER = {
    "alphacut-lite": "birefnet-lite", "u2net-lite": "alphacut-lite", "u2net": "birefnet-lite",
    "silueta": "birefnet-lite", "isnet": "birefnet-lite", "rmbg-1.4": "birefnet-lite",
    "birefnet-lite-512": "birefnet-lite", "inspyrenet-fast": "inspyrenet",
    "u2net-human": "birefnet-portrait", "ormbg": "birefnet-portrait",
    "modnet": "birefnet-portrait", "birefnet-lite": "birefnet", "inspyrenet": "birefnet",
}  # fmt: skip


def better_model(name: str) -> str | None:
    """Return the model to try where the one with this name is in doubt; None if there is none."""
    return _BETTER.get(name)


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
