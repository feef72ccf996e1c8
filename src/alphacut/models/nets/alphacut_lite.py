"""alphacut-lite: EfficientNet-Lite0 under a pyramid of depth-wise convolutions.

The encoder is that of Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019, arXiv 1905.11946, in its Lite form: ReLU6 and no squeeze and excitation, made
for 8-bit integers; its children carry the names of the published state dict. The pyramid is that of
Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, arXiv 1612.03144, with few
channels; the last step to full size is a pixel shuffle, which costs nothing. Shapes: N pictures,
C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# expansion, kernel, stride, output channels, how often
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM = 32
_TAPS = {0: 2, 2: 4, 4: 8, 10: 16, 15: 32}  # block: stride of its output
_CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}
_WIDTH, _FINE_WIDTH = 64, 24  # of the pyramid, and of its map at stride 2
_EPS = 1e-3  # of batch norm, as published


def same_padding(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pads as TensorFlow does: at stride 2 more at the bottom and on the right; for even sizes."""
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return F.pad(x, (before, after, before, after))


class MBConv(nn.Module):
    """Inverted residual with ReLU6: (N, in, H, W) to (N, out, H / stride, W / stride)."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.expands = kernel, stride, expansion > 1
        wide = expansion * in_channels
        if self.expands:
            self._expand_conv = nn.Conv2d(in_channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=_EPS)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=_EPS)
        self._project_conv = nn.Conv2d(wide, out_channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_channels, eps=_EPS)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Adds x where the shapes agree."""
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = same_padding(y, self.kernel, self.stride)
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class Encoder(nn.Module):
    """EfficientNet-Lite0 without its head: maps at strides 2, 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, _STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPS)
        blocks: list[MBConv] = []
        channels = _STEM
        for expansion, kernel, stride, out_channels, times in _STAGES:
            for n in range(times):
                blocks.append(
                    MBConv(channels, out_channels, expansion, kernel, stride if n == 0 else 1)
                )
                channels = out_channels
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Maps by their stride, of a batch (N, 3, H, W), H and W multiples of 32."""
        y = F.relu6(self._bn0(self._conv_stem(same_padding(x, 3, 2))))
        maps = {}
        for n, block in enumerate(self._blocks):
            y = block(y)
            if n in _TAPS:
                maps[_TAPS[n]] = y
        return maps


class Merge(nn.Module):
    """A map of the encoder joined with what is coarser: (N, out, H, W)."""

    def __init__(self, in_channels: int, coarse_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(in_channels, out_channels, 1)
        self.narrow = (
            nn.Conv2d(coarse_channels, out_channels, 1)
            if coarse_channels not in (0, out_channels)
            else nn.Identity()
        )
        self.spread = nn.Conv2d(out_channels, out_channels, 5, padding=2, groups=out_channels)
        self.mix = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, coarse: Tensor | None) -> Tensor:
        """Adds the coarser map, enlarged, and spreads the sum."""
        y = self.lateral(x)
        if coarse is not None:
            y = y + resize_to(self.narrow(coarse), y)
        return F.relu6(self.norm(self.mix(self.spread(y))))


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Resizes (N, C, h, w) bilinearly to the height and width of `like`."""
    y = F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return y if y.dtype == x.dtype else y.to(x.dtype)  # mixed precision on CPUs makes it float32


class AlphacutLite(nn.Module):
    """Salient objects with 3.1 million parameters, 0.9 GMAC at 320 x 320."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.merge32 = Merge(_CHANNELS[32], 0, _WIDTH)
        self.merge16 = Merge(_CHANNELS[16], _WIDTH, _WIDTH)
        self.merge8 = Merge(_CHANNELS[8], _WIDTH, _WIDTH)
        self.merge4 = Merge(_CHANNELS[4], _WIDTH, _WIDTH)
        self.merge2 = Merge(_CHANNELS[2], _WIDTH, _FINE_WIDTH)
        self.coarse = nn.Conv2d(_WIDTH, 1, 1)  # in training: what the whole is, at stride 16
        self.fine = nn.Conv2d(_FINE_WIDTH, 4, 3, padding=1)

    def logits(self, x: Tensor) -> tuple[Tensor, ...]:
        """The answer's logits, then those at stride 16, enlarged; each (N, 1, H, W)."""
        maps = self.encoder(x)
        y = self.merge16(maps[16], self.merge32(maps[32], None))
        coarse = self.coarse(y)
        y = self.merge4(maps[4], self.merge8(maps[8], y))
        y = self.merge2(maps[2], y)
        return F.pixel_shuffle(self.fine(y), 2), resize_to(coarse, x)

    def forward(self, x: Tensor) -> Tensor:
        """Saliency (N, 1, H, W) in [0, 1] of a normalised batch (N, 3, H, W), multiples of 32."""
        return torch.sigmoid(self.logits(x)[0])
