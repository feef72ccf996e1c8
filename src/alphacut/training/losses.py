"""Losses of alpha, each a plain function, and their weighted sum over a network's outputs.

`pred` and `true` are (N, 1, H, W) in [0, 1], a loss is a scalar. Nothing here draws at random.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from alphacut.errors import TrainingError
from alphacut.training.recipe import Loss

EPSILON = 1e-6  # under the root of the RMSE, so the loss of 0 is 0.001
EDGE_FACTOR = 4.0
EDGE_PX = 7
LEVELS = 5  # of the Laplacian pyramid


def rmse(pred: Tensor, true: Tensor) -> Tensor:
    """Root of the mean squared error plus 1e-6, over the whole batch."""
    return torch.sqrt(torch.mean((pred - true) ** 2) + EPSILON)


def edges(true: Tensor) -> Tensor:
    """1 where the 7 x 7 morphological gradient of the truth is not 0: 3 px around each change."""
    pad = EDGE_PX // 2
    widest = F.max_pool2d(true, EDGE_PX, stride=1, padding=pad)
    least = -F.max_pool2d(-true, EDGE_PX, stride=1, padding=pad)
    return (widest != least).to(true.dtype)


def edge_rmse(pred: Tensor, true: Tensor) -> Tensor:
    """RMSE, plus 4 times the RMSE of what lies on edges; both are means over all pixels.

    The loss of rdutta1999/bg-removal-human-portrait, for one output.
    """
    edge = edges(true)
    return rmse(pred, true) + EDGE_FACTOR * rmse(pred * edge, true * edge)


def l1(pred: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference."""
    return torch.mean(torch.abs(pred - true))


def laplacian(pred: Tensor, true: Tensor) -> Tensor:
    """L1 between Laplacian pyramids of 5 levels; level s counts 2^s, since it has fewer pixels.

    The two pyramids are linear, so that of the difference is taken.
    """
    level, loss = pred - true, pred.new_zeros(())
    for s in range(LEVELS):
        if min(level.shape[-2:]) < 3:  # too small to be blurred
            break
        smaller = _blur(level)[..., ::2, ::2]
        larger = F.interpolate(smaller, level.shape[-2:], mode="bilinear", align_corners=False)
        loss = loss + 2**s * torch.mean(torch.abs(level - larger))
        level = smaller
    return loss


def gradient(pred: Tensor, true: Tensor) -> Tensor:
    """L1 between the Sobel derivatives, in alpha a pixel, mean of x and y."""
    d = F.pad(pred - true, (1, 1, 1, 1), mode="replicate")
    kernel = d.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    return torch.mean(torch.abs(F.conv2d(d, torch.stack([kernel, kernel.T])[:, None])))


def band(pred: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference on `edges`, over their own area; 0 where there are none."""
    edge = edges(true)
    return torch.sum(torch.abs(pred - true) * edge) / torch.clamp(edge.sum(), min=1)


def composition(pred: Tensor, true: Tensor, contrast: Tensor) -> Tensor:
    """L1 between composites of the true colours by `pred` and by `true`.

    Args:
        pred: Prediction.
        true: Truth.
        contrast: (N, 3, H, W), foreground minus background, in [-1, 1].
    """
    return torch.mean(torch.abs((pred - true) * contrast))


def bce(logits: Tensor, true: Tensor, loss_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of sigmoid(logits), in nats; 0 where `loss_weight` is."""
    return F.binary_cross_entropy_with_logits(logits, true, loss_weight)


def total(
    alphas: Sequence[Tensor],
    logits: Sequence[Tensor],
    batch: Mapping[str, Tensor],
    settings: Loss,
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of a recipe's terms over all outputs of a network.

    Args:
        alphas: Each output as alpha, the best one first, from the first one that counts.
        logits: The same before the sigmoid; none for a network without one.
        batch: "alpha" (N, 1, H, W), "contrast" (N, 3, H, W), and "loss_weight" (N, 1, H, W), how
            much each pixel counts, in [0, 1].
        settings: The recipe's.

    Returns:
        The loss, and the value of each term for the first of them.

    Raises:
        TrainingError: if the settings do not fit the network's outputs.
    """
    outputs = settings.outputs[settings.first :]
    if len(outputs) != len(alphas):
        count = settings.first + len(alphas)
        raise TrainingError(f"loss.outputs: the network has {count}, so give each a weight")
    if settings.bce and not logits:
        raise TrainingError("loss.bce: this network has no logits: choose other terms")
    true, loss_weight = batch["alpha"], batch["loss_weight"]
    share = torch.clamp(loss_weight.mean(), min=EPSILON)
    loss, named = true.new_zeros(()), {}
    for k, (alpha, weight) in enumerate(zip(alphas, outputs, strict=True)):
        if not weight:
            continue
        pred = torch.lerp(true, alpha, loss_weight)
        for name, factor in settings.terms.items():
            if name == "bce":
                value = bce(logits[k], true, loss_weight) / share
            elif name == "composition":
                value = composition(pred, true, batch["contrast"]) / share
            elif name in _OWN_SCALE:
                value = _OWN_SCALE[name](pred, true)
            else:
                value = _MEANS[name](pred, true) / share
            loss = loss + weight * factor * value
            if k == 0:
                named[name] = float(value.detach())
    return loss / sum(outputs), named


_MEANS = {"l1": l1, "laplacian": laplacian, "gradient": gradient}  # over all pixels
_OWN_SCALE = {"edge_rmse": edge_rmse, "band": band}


def _blur(x: Tensor) -> Tensor:
    """5-tap binomial filter, both ways; borders are replicated."""
    taps = x.new_tensor([1.0, 4, 6, 4, 1]) / 16
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")
    return F.conv2d(F.conv2d(x, taps.view(1, 1, 1, 5)), taps.view(1, 1, 5, 1))
