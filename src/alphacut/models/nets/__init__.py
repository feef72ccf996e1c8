"""The networks in PyTorch, one architecture per file, with the published state-dict keys."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ARCHITECTURES = (
    "u2net",
    "u2netp",
    "isnet",
    "deeplabv3_resnet101",
    "deeplabv3_resnet50",
    "indexnet",
    "alphacut_lite",
    "birefnet_lite",
    "birefnet",
    "inspyrenet_swinb",
    "inspyrenet_res2net50",
    "modnet",
    "vitmatte_s",
    "mobile_sam",
)
# Tensors of published state dicts that are computed here, or that only training uses
_UNUSED = {
    "deeplabv3_resnet101": r"aux_classifier\.",
    "deeplabv3_resnet50": r"aux_classifier\.",
    "birefnet_lite": r".*\.relative_position_index$|decoder\.gdt_convs_pred_",
    "birefnet": r".*\.relative_position_index$|decoder\.gdt_convs_pred_",
    "inspyrenet_swinb": r".*\.relative_position_index$",
    "modnet": r"backbone\.",  # second names of lr_branch.backbone
    "mobile_sam": r"image_encoder\.(norm_)?head\.",
}


# What a checkpoint calls its state dict; an averaged one is better than the network's own
_STATES = ("state_dict", "model_state_dict", "model", "average")


def build(arch: str, **options: Any) -> nn.Module:
    """Build a network with random weights, in training mode.

    Args:
        arch: One of `ARCHITECTURES`.
        **options: `expansion` (1 or 2) for indexnet, `patch_order` for BiRefNet, `base_size` for
            InSPyReNet; the others take none.

    Raises:
        ValueError: if there is no such architecture.
    """
    if arch in ("u2net", "u2netp"):
        from alphacut.models.nets.u2net import FULL, LITE, U2Net

        return U2Net(FULL if arch == "u2net" else LITE, **options)
    if arch == "isnet":
        from alphacut.models.nets.isnet import ISNet

        return ISNet(**options)
    if arch in ("deeplabv3_resnet101", "deeplabv3_resnet50"):
        from alphacut.models.nets.deeplabv3 import DeepLabV3

        return DeepLabV3((3, 4, 23 if arch == "deeplabv3_resnet101" else 6, 3), **options)
    if arch == "indexnet":
        from alphacut.models.nets.indexnet import IndexNet

        return IndexNet(**options)
    if arch == "alphacut_lite":
        from alphacut.models.nets.alphacut_lite import AlphacutLite

        return AlphacutLite(**options)
    if arch in ("birefnet_lite", "birefnet"):
        from alphacut.models.nets.birefnet import BiRefNet
        from alphacut.models.nets.swin import LARGE, TINY

        return BiRefNet(TINY if arch == "birefnet_lite" else LARGE, **options)
    if arch == "inspyrenet_swinb":
        from alphacut.models.nets.inspyrenet import InSPyReNet
        from alphacut.models.nets.swin import BASE, Swin

        return InSPyReNet(Swin(BASE), (128, 128, 256, 512, 1024), **options)
    if arch == "inspyrenet_res2net50":
        from alphacut.models.nets.inspyrenet import InSPyReNet
        from alphacut.models.nets.res2net import Res2Net

        return InSPyReNet(Res2Net(), (64, 256, 512, 1024, 2048), **options)
    if arch == "modnet":
        from alphacut.models.nets.modnet import MODNet

        return MODNet(**options)
    if arch == "vitmatte_s":
        from alphacut.models.nets.vitmatte import ViTMatte

        return ViTMatte(**options)
    if arch == "mobile_sam":
        from alphacut.models.nets.mobile_sam import MobileSAM

        return MobileSAM(**options)
    raise ValueError(f"unknown architecture {arch!r}: choose one of {', '.join(ARCHITECTURES)}")


def load_state(arch: str, checkpoint: Mapping[str, Any], **options: Any) -> nn.Module:
    """Return a network in eval mode with the weights of a checkpoint.

    Args:
        arch: One of `ARCHITECTURES`. A tensor's shape tells the released indexnet from the paper's.
        checkpoint: State dict, or a dictionary that holds one as `state_dict`, `model_state_dict`,
            `model` or, as this package's own runs, `average`. The key prefixes `module.` and
            `_orig_mod.` and what only training uses are dropped; counters of batch norms
            (`num_batches_tracked`) may be missing. Without any batch norm, it is taken for that of
            a folded network.
        **options: As for `build`.

    Raises:
        ValueError: if there is no such architecture, or a tensor is missing, unexpected or of
            another shape.
    """
    state = {
        re.sub(r"^(module\.|_orig_mod\.)+", "", key): t
        for key, t in _state_dict(checkpoint).items()
    }
    if arch in _UNUSED:
        state = {key: t for key, t in state.items() if not re.match(_UNUSED[arch], key)}
    if arch == "indexnet" and (branch := state.get("index0.indexnet1.0.weight")) is not None:
        options["expansion"] = 2 if branch.shape[:1] == (64,) else 1
    network = build(arch, **options)
    if not any(key.endswith("running_var") for key in state):
        network = fold_batch_norm(network)
    return _fill(arch, network, state)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode with each batch norm folded into the convolution before it.

    Its state dict has only the convolutions' weights and biases, as do the published ONNX files of
    these networks.
    """
    from alphacut.models.nets.birefnet import DeformableConv

    folded = copy.deepcopy(network).eval()
    for block in folded.modules():
        for (name, conv), (after, norm) in itertools.pairwise(block.named_children()):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            if isinstance(conv, DeformableConv):
                conv.regular_conv = fuse_conv_bn_eval(conv.regular_conv, norm)
            elif isinstance(conv, nn.Conv2d):
                setattr(block, name, fuse_conv_bn_eval(conv, norm))
            else:
                continue
            setattr(block, after, nn.Identity())
    return folded


def load_onnx_weights(arch: str, initializers: Mapping[str, Tensor], **options: Any) -> nn.Module:
    """Return a network in eval mode, without batch norm, with the weights of an ONNX file.

    PyTorch's exporter folds a batch norm into its convolution and drops both names; whatever it
    leaves alone, or was folded before, keeps its key. Tensors without names are matched by order:
    the folded convolutions of a U-2-Net or IS-Net form one chain, so that every valid order of the
    graph's nodes agrees.

    Args:
        arch: One of `ARCHITECTURES`; for tensors without names u2net, u2netp or isnet.
        initializers: Weight, then bias of each Conv node in graph order, by name; half precision
            becomes float32.
        **options: As for `build`.

    Raises:
        ValueError: if the architecture, the number of tensors or a shape does not match.
    """
    from alphacut.models.nets.u2net import NestedUNet

    network = fold_batch_norm(build(arch, **options))
    state = network.state_dict()
    keys = state.keys()
    auxiliary = getattr(network, "auxiliary", None)  # files lack it, so it stays as it was built
    unused = {key: t for key, t in state.items() if auxiliary and key.startswith(auxiliary)}
    named = unused | {name: t for name, t in initializers.items() if name in keys}
    unnamed = [t for name, t in initializers.items() if name not in keys]
    chain = [key for key in keys if key not in named]
    if chain and not isinstance(network, NestedUNet):
        raise ValueError(f"cannot read weights of {arch} without names: use a state dict")
    if len(chain) != len(unnamed):
        raise ValueError(
            f"not the weights of {arch}: {len(initializers)} tensors instead of {len(keys)}"
        )
    return _fill(arch, network, named | dict(zip(chain, unnamed, strict=True)))


def _state_dict(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the state dict in a checkpoint; ValueError if it holds anything but tensors."""
    state = next((checkpoint[key] for key in _STATES if key in checkpoint), checkpoint)
    if not (isinstance(state, Mapping) and all(isinstance(t, Tensor) for t in state.values())):
        raise ValueError("not a state dict, which maps names to tensors")
    return state


def _fill(arch: str, network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Load tensors into a network and set eval mode; ValueError if keys or shapes differ."""
    expected = network.state_dict()
    counters = {key: t for key, t in expected.items() if key.endswith("num_batches_tracked")}
    state = counters | dict(state)
    differences = [
        *(f"{key} is missing" for key in expected.keys() - state.keys()),
        *(f"{key} is unexpected" for key in state.keys() - expected.keys()),
        *(
            f"{key} has shape {tuple(state[key].shape)} instead of {tuple(t.shape)}"
            for key, t in expected.items()
            if key in state and state[key].shape != t.shape
        ),
    ]
    if differences:
        shown = "; ".join(sorted(differences)[:4])
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise ValueError(f"not the weights of {arch}: {shown}{more}")
    network.load_state_dict(state)
    return network.eval()
