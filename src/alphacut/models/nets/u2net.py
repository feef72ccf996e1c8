"""U-2-Net and U-2-NetP: salient object detection with a nested U-structure.

Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
Pattern Recognition 2020, arXiv 2005.09007. Submodules are named as in the published state dict.
Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stages = dict[str, tuple[Callable[[int, int, int], nn.Module], int, int, int]]


def pool(x: Tensor) -> Tensor:
    """Halve (N, C, H, W); an odd last row or column is kept, so sizes round up."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """Resize (N, C, h, w) bilinearly to the height and width of `like`."""
    y = F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return (
        y if y.dtype == x.dtype else y.to(x.dtype)
    )  # mixed precision on CPUs turns it into float32


def cat(deep: Tensor, skip: Tensor) -> Tensor:
    """Concatenate two maps of one size along the channels, the deeper one first."""
    return torch.cat((deep, skip), dim=1)


class REBNConv(nn.Module):
    """ReLU(BN(Conv3x3(x))): (N, in, H, W) to (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1: nn.Module = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        return F.relu(self.bn_s1(self.conv_s1(x)))


class RSU(nn.Module):
    """Residual U-block RSU-L (section 3.1 of the paper): (N, in, H, W) to (N, out, H, W).

    A U-Net of L levels and `mid` channels, whose output is added to its input map.
    """

    def __init__(self, levels: int, in_channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        self.levels = levels
        self.rebnconvin = REBNConv(in_channels, out_channels)
        self.rebnconv1 = REBNConv(out_channels, mid_channels)
        for k in range(2, levels):
            self.add_module(f"rebnconv{k}", REBNConv(mid_channels, mid_channels))
        self.add_module(f"rebnconv{levels}", REBNConv(mid_channels, mid_channels, dilation=2))
        for k in range(levels - 1, 1, -1):
            self.add_module(f"rebnconv{k}d", REBNConv(2 * mid_channels, mid_channels))
        self.rebnconv1d = REBNConv(2 * mid_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Go down by L - 2 poolings and one dilated convolution, then up to the size of x."""
        bottom = self.levels - 1  # the smallest map; the last level dilates instead of pooling
        x0 = self.rebnconvin(x)
        e = {1: self.rebnconv1(x0)}
        for k in range(2, self.levels):
            e[k] = getattr(self, f"rebnconv{k}")(pool(e[k - 1]))
        e_last = getattr(self, f"rebnconv{self.levels}")(e[bottom])
        d = getattr(self, f"rebnconv{bottom}d")(cat(e_last, e[bottom]))
        for k in range(bottom - 1, 0, -1):
            d = getattr(self, f"rebnconv{k}d")(cat(resize_like(d, e[k]), e[k]))
        y: Tensor = x0 + d
        return y


class RSU4F(nn.Module):
    """RSU-4F: RSU-4 with dilation instead of pooling: (N, in, H, W) to (N, out, H, W)."""

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        self.rebnconvin = REBNConv(in_channels, out_channels)
        self.rebnconv1 = REBNConv(out_channels, mid_channels)
        self.rebnconv2 = REBNConv(mid_channels, mid_channels, dilation=2)
        self.rebnconv3 = REBNConv(mid_channels, mid_channels, dilation=4)
        self.rebnconv4 = REBNConv(mid_channels, mid_channels, dilation=8)
        self.rebnconv3d = REBNConv(2 * mid_channels, mid_channels, dilation=4)
        self.rebnconv2d = REBNConv(2 * mid_channels, mid_channels, dilation=2)
        self.rebnconv1d = REBNConv(2 * mid_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the size of x on every level."""
        x0 = self.rebnconvin(x)
        e1 = self.rebnconv1(x0)
        e2 = self.rebnconv2(e1)
        e3 = self.rebnconv3(e2)
        e4 = self.rebnconv4(e3)
        d3 = self.rebnconv3d(cat(e4, e3))
        d2 = self.rebnconv2d(cat(d3, e2))
        y: Tensor = x0 + self.rebnconv1d(cat(d2, e1))
        return y


RSU7, RSU6, RSU5, RSU4 = (partial(RSU, levels) for levels in (7, 6, 5, 4))

# stage: block; input, middle and output channels
FULL: Stages = {
    "stage1": (RSU7, 3, 32, 64),
    "stage2": (RSU6, 64, 32, 128),
    "stage3": (RSU5, 128, 64, 256),
    "stage4": (RSU4, 256, 128, 512),
    "stage5": (RSU4F, 512, 256, 512),
    "stage6": (RSU4F, 512, 256, 512),
    "stage5d": (RSU4F, 1024, 256, 512),
    "stage4d": (RSU4, 1024, 128, 256),
    "stage3d": (RSU5, 512, 64, 128),
    "stage2d": (RSU6, 256, 32, 64),
    "stage1d": (RSU7, 128, 16, 64),
}
LITE: Stages = {
    "stage1": (RSU7, 3, 16, 64),
    "stage2": (RSU6, 64, 16, 64),
    "stage3": (RSU5, 64, 16, 64),
    "stage4": (RSU4, 64, 16, 64),
    "stage5": (RSU4F, 64, 16, 64),
    "stage6": (RSU4F, 64, 16, 64),
    "stage5d": (RSU4F, 128, 16, 64),
    "stage4d": (RSU4, 128, 16, 64),
    "stage3d": (RSU5, 128, 16, 64),
    "stage2d": (RSU6, 128, 16, 64),
    "stage1d": (RSU7, 128, 16, 64),
}


class NestedUNet(nn.Module):
    """A U-Net of six levels whose stages are U-Nets, with a side output on every level."""

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        for name, (block, in_channels, mid_channels, out_channels) in stages.items():
            self.add_module(name, block(in_channels, mid_channels, out_channels))
        for k, name in enumerate(("stage1d", "stage2d", "stage3d", "stage4d", "stage5d", "stage6")):
            self.add_module(f"side{k + 1}", nn.Conv2d(stages[name][-1], 1, 3, padding=1))

    def features(self, x: Tensor, finest: int = 1) -> tuple[Tensor, ...]:
        """Return decoder maps g_1 to g_6 for x (N, C, H, W); g_k has 1 / 2^(k - 1) of its size.

        With `finest`, only those from it on, in a fraction of the time.
        """
        h = {1: self.get_submodule("stage1")(x)}
        for k in range(2, 7):
            h[k] = getattr(self, f"stage{k}")(pool(h[k - 1]))
        g = {6: h[6]}
        for k in range(5, finest - 1, -1):
            g[k] = getattr(self, f"stage{k}d")(cat(resize_like(g[k + 1], h[k]), h[k]))
        return tuple(g[k] for k in range(finest, 7))

    def sides(self, x: Tensor, finest: int = 1) -> tuple[Tensor, ...]:
        """Return side logits l_1 to l_6, each (N, 1, h, w) of its map's size; from `finest` on."""
        maps = self.features(x, finest)
        return tuple(getattr(self, f"side{k}")(g) for k, g in enumerate(maps, start=finest))

    def logits(self, x: Tensor, first: int = 0) -> tuple[Tensor, ...]:
        """Return side logits l_1 to l_6, each (N, 1, H, W), for a batch x (N, 3, H, W).

        Without the `first` ones, which are not calculated then.
        """
        return tuple(resize_like(side, x) for side in self.sides(x, first + 1))

    def forward_all(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return every published saliency map, each (N, 1, H, W) in [0, 1], the best first."""
        return tuple(torch.sigmoid(logits) for logits in self.logits(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return saliency (N, 1, H, W) in [0, 1] for a normalised batch (N, 3, H, W), any size."""
        return torch.sigmoid(self.logits(x)[0])


class U2Net(NestedUNet):
    """U-2-Net, or with `stages=LITE` its small form U-2-NetP.

    Trained at 320 x 320. `forward_all` returns the fused saliency d_0, then d_1 to d_6.
    """

    def __init__(self, stages: Stages = FULL) -> None:
        super().__init__(stages)
        self.outconv = nn.Conv2d(6, 1, 1)

    def fuse(self, sides: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return fused logits l_0 (N, 1, H, W) of the side logits of a batch x (N, 3, H, W)."""
        fused: Tensor = self.outconv(torch.cat([resize_like(side, x) for side in sides], dim=1))
        return fused

    def logits(self, x: Tensor, first: int = 0) -> tuple[Tensor, ...]:
        """Return fused logits l_0, then l_1 to l_6; each (N, 1, H, W); without the `first` ones."""
        if first:
            return super().logits(x, first - 1)
        sides = super().logits(x)
        return self.fuse(sides, x), *sides
