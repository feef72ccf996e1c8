"""InSPyReNet: saliency from coarse to fine, each level adding a Laplacian.

Kim et al., "Revisiting Image Pyramid Structure for High Resolution Salient Object Detection", ACCV
2022, arXiv 2209.09475. Submodules are named as in the published state dict. Like the authors' code,
and unlike its names, attention along the height re-views a map without transposing it: weights
were trained so. Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTH = 64  # channels of all levels


def resize(x: Tensor, size: Sequence[int], corners: bool = False) -> Tensor:
    """Resize (N, C, h, w) bilinearly."""
    return F.interpolate(x, size=[*size], mode="bilinear", align_corners=corners)


class ConvBN(nn.Module):
    """BN(conv(x)), or with `plain` the convolution alone; it keeps the size and has no bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        dilation: int = 1,
        plain: bool = False,
    ) -> None:
        super().__init__()
        padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.Identity() if plain else nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        y: Tensor = self.bn(self.conv(x))
        return y


class AxialAttention(nn.Module):
    """Attention along one axis, added to its input: (N, 64, H, W) to same."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.query_conv = ConvBN(DEPTH, DEPTH // 8, (1, 1))
        self.key_conv = ConvBN(DEPTH, DEPTH // 8, (1, 1))
        self.value_conv = ConvBN(DEPTH, DEPTH, (1, 1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        n, length = x.shape[0], x.shape[self.axis]
        maps = (self.query_conv(x), self.key_conv(x), self.value_conv(x))
        q, k, v = (each.reshape(n, -1, length) for each in maps)
        weights = (q.transpose(1, 2) @ k).softmax(dim=-1)
        y = (v @ weights.transpose(1, 2)).reshape(x.shape)
        z: Tensor = self.gamma * y + x
        return z


class Branch(nn.Module):
    """One scale of a context: a cross of convolutions, both attentions, a dilated convolution."""

    def __init__(self, in_channels: int, reach: int) -> None:
        super().__init__()
        self.conv0 = ConvBN(in_channels, DEPTH, (1, 1))
        self.conv1 = ConvBN(DEPTH, DEPTH, (1, reach))
        self.conv2 = ConvBN(DEPTH, DEPTH, (reach, 1))
        self.conv3 = ConvBN(DEPTH, DEPTH, (3, 3), dilation=reach)
        self.Hattn = AxialAttention(2)
        self.Wattn = AxialAttention(3)

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order; there is no ReLU."""
        x = self.conv2(self.conv1(self.conv0(x)))
        y: Tensor = self.conv3(self.Hattn(x) + self.Wattn(x))
        return y


class Context(nn.Module):
    """Context of four scales: (N, in, h, w) to (N, 64, h, w)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch0 = ConvBN(in_channels, DEPTH, (1, 1))
        for k, reach in enumerate((3, 5, 7), start=1):
            self.add_module(f"branch{k}", Branch(in_channels, reach))
        self.conv_cat = ConvBN(4 * DEPTH, DEPTH, (3, 3))
        self.conv_res = ConvBN(in_channels, DEPTH, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches, convolve, and add the input's projection."""
        scales = torch.cat([self.get_submodule(f"branch{k}")(x) for k in range(4)], dim=1)
        return F.relu(self.conv_cat(scales) + self.conv_res(x))


class Decoder(nn.Module):
    """The coarsest saliency, of three contexts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBN(3 * DEPTH, DEPTH, (3, 3))
        self.conv2 = ConvBN(DEPTH, DEPTH, (3, 3))
        self.conv3 = ConvBN(DEPTH, DEPTH, (3, 3))
        self.conv4 = ConvBN(DEPTH, DEPTH, (3, 3))
        self.conv5 = ConvBN(DEPTH, 1, (3, 3), plain=True)
        self.Hattn = AxialAttention(2)
        self.Wattn = AxialAttention(3)

    def forward(self, deepest: Tensor, deep: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, 64, h, w) and the saliency's logit (N, 1, h, w), of the size of x."""
        size = x.shape[2:]
        joined = (resize(deepest, size, True), resize(deep, size, True), x)
        x = self.conv1(torch.cat(joined, dim=1))
        x = self.Hattn(x) + self.Wattn(x)
        x = self.conv4(self.conv3(self.conv2(x)))
        return x, self.conv5(x)


class SICA(nn.Module):
    """Scale-invariant context attention: what is subject, ground and doubtful, and its Laplacian.

    Args:
        in_channels: Of its map.
        side: Of the square on which contexts are summed, whatever the map's size.
        laplacian: Whether it is given the level's previous Laplacian, too.
    """

    def __init__(self, in_channels: int, side: int, laplacian: bool) -> None:
        super().__init__()
        self.side = side
        self.threshold = nn.Parameter(torch.full((1,), 0.5))
        if laplacian:
            self.lthreshold = nn.Parameter(torch.full((1,), 0.5))
        for name, kernel in (("query", (3, 3)), ("key", (1, 1)), ("value", (1, 1))):
            twice = (ConvBN(in_channels, DEPTH, kernel), ConvBN(DEPTH, DEPTH, kernel))
            self.add_module(f"conv_{name}", nn.ModuleList(twice))
        self.conv_out1 = ConvBN(DEPTH, DEPTH, (3, 3))
        self.conv_out2 = ConvBN(in_channels + DEPTH, DEPTH, (3, 3))
        self.conv_out3 = ConvBN(DEPTH, DEPTH, (3, 3))
        self.conv_out4 = ConvBN(DEPTH, 1, (1, 1))

    def forward(
        self, x: Tensor, saliency: Tensor, laplacian: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features (N, 64, h, w) and the Laplacian (N, 1, h, w) for x (N, in, h, w)."""
        size, channels = x.shape[2:], x.shape[1]
        p = torch.sigmoid(resize(saliency, size)) - self.threshold
        maps = [p.clip(0, 1), (-p).clip(0, 1), self.threshold - p.abs()]
        if laplacian is not None:
            edge = torch.sigmoid(resize(laplacian, size)) - self.lthreshold
            maps += [edge.clip(0, 1), (-edge).clip(0, 1)]
        square = (self.side, self.side)
        weights = resize(torch.cat(maps, dim=1), square).flatten(2)  # (N, maps, pixels)
        # re-viewed, not transposed, as the authors do
        features = resize(x, square).reshape(-1, self.side * self.side, channels)
        context = (weights @ features).transpose(1, 2)[..., None]  # (N, in, maps, 1)
        q = self._twice("query", x).flatten(2).transpose(1, 2)  # (N, pixels, 64)
        k = self._twice("key", context)[..., 0]  # (N, 64, maps)
        v = self._twice("value", context)[..., 0].transpose(1, 2)
        y = ((q @ k) * DEPTH**-0.5).softmax(dim=-1) @ v
        y = y.transpose(1, 2).reshape(-1, DEPTH, *size)
        y = torch.cat((x, F.relu(self.conv_out1(y))), dim=1)
        y = F.relu(self.conv_out3(F.relu(self.conv_out2(y))))
        return y, self.conv_out4(y)

    def _twice(self, name: str, x: Tensor) -> Tensor:
        """Apply the two convolutions of a name, each with a ReLU."""
        for conv in self.get_submodule(f"conv_{name}").children():
            x = F.relu(conv(x))
        return x


def expand(x: Tensor) -> Tensor:
    """Double the size of a map (N, 1, h, w) with a Gaussian of sigma 1, as image pyramids do."""
    n, _, h, w = x.shape
    zero = torch.zeros_like(x)
    wide = torch.stack((x, zero), dim=-1).reshape(n, 1, h, 2 * w)
    doubled = torch.stack((wide, torch.zeros_like(wide)), dim=3).reshape(n, 1, 2 * h, 2 * w)
    taps = torch.tensor([math.exp(-((i - 3) ** 2) / 2) for i in range(7)], dtype=x.dtype)
    taps = (2 * taps / taps.sum()).to(x.device)
    padded = F.pad(doubled, (3, 3, 3, 3), mode="reflect")
    return F.conv2d(F.conv2d(padded, taps[None, None, None]), taps[None, None, :, None])


class InSPyReNet(nn.Module):
    """InSPyReNet. Height and width are multiples of 32.

    Args:
        backbone: Gives five maps, at 1/4, 1/4, 1/8, 1/16 and 1/32 of the image's size.
        channels: Of these maps.
        base_size: Side of the square images that the weights were trained on; it changes the
            result, whatever the batch's size.
    """

    def __init__(
        self, backbone: nn.Module, channels: tuple[int, int, int, int, int], base_size: int = 384
    ) -> None:
        super().__init__()
        self.backbone = backbone
        for k, of_map in enumerate(channels, start=1):
            self.add_module(f"context{k}", Context(of_map))
        self.decoder = Decoder()
        self.attention0 = SICA(DEPTH, base_size, laplacian=True)
        self.attention1 = SICA(2 * DEPTH, base_size // 2, laplacian=True)
        self.attention2 = SICA(2 * DEPTH, base_size // 4, laplacian=False)

    def forward_all(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits d3, d2, d1, d0 of all levels, and the Laplacians p2, p1, p0."""
        H, W = image.shape[2:]
        maps = self.backbone(image)
        x1, x2, x3, x4, x5 = (
            self.get_submodule(f"context{k}")(each) for k, each in enumerate(maps, start=1)
        )
        features, d3 = self.decoder(x5, x4, x3)
        at_4 = torch.cat((x2, resize(features, (H // 4, W // 4))), dim=1)
        features, p2 = self.attention2(at_4, d3)
        d2 = expand(d3) + p2
        at_2 = resize(torch.cat((x1, features), dim=1), (H // 2, W // 2))
        features, p1 = self.attention1(at_2, d2, p2)
        d1 = expand(d2) + p1
        _, p0 = self.attention0(resize(features, (H, W)), d1, p1)
        d0 = expand(d1) + p0
        return {"d0": d0, "d1": d1, "d2": d2, "d3": d3, "p0": p0, "p1": p1, "p2": p2}

    def logits(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits d0 to d3, (N, 1, H, W) and coarser, the answer first."""
        levels = self.forward_all(image)
        return tuple(levels[name] for name in ("d0", "d1", "d2", "d3"))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logit (N, 1, H, W) of the saliency for a normalised batch (N, 3, H, W)."""
        return self.forward_all(image)["d0"]
