"""alphacut-lite: U-2-Net-lite, and a second look that corrects it.

The first network finds what stands out, and takes flags, walls and empty scenes for subjects. The
second one sees the picture through an encoder that learnt objects from ImageNet, and the first
one's logits at every stride. The answer is a weighted mean of both looks' logits, the surer the
more they contradict each other. The encoder is EfficientNet-Lite0 (Tan and Le, "EfficientNet:
Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv 1905.11946; the Lite
form has ReLU6 and no squeeze and excitation); its children carry the names of the published state
dict. The pyramid is that of Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017,
arXiv 1612.03144, with few channels; the last step to full size is a pixel shuffle, which costs
nothing. Shapes: N pictures, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alphacut.models.nets.u2net import LITE, REBNConv, U2Net, resize_like

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
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the batch, U-2-Net's
_SUREST = 8.0  # logit: a network can be surer, but nothing should need more to change its mind
_BELIEVED = 0.6  # share of a correction: how much the second look counts in the mean of both
_AREA = 9  # side in pixels of the least area over which looks are said to contradict each other
_ALONE = 0.25  # share of pictures in training that the second look sees without the first one
_HINTS = 2  # channels: the first network's fused logits and those of its side of the same stride
_SIDES = {2: 1, 4: 2, 8: 3, 16: 4, 32: 5}  # by stride: index of the side output


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
            y = y + resize_like(self.narrow(coarse), y)
        return F.relu6(self.norm(self.mix(self.spread(y))))


class AlphacutLite(nn.Module):
    """Salient objects by two looks; 4.1 million parameters, 20.7 GMAC at 320 x 320.

    Attributes:
        exact: Of the weights that float16 or 8 bits would harm: the first look's, see docs/log.md.
        auxiliary: Of the weights that only training needs, so that files for runtimes lack them.
    """

    exact, auxiliary = "first.", "coarse."

    def __init__(self) -> None:
        super().__init__()
        self.first = U2Net(LITE)
        for module in self.first.modules():
            if isinstance(module, REBNConv):
                module.bn_s1 = nn.Identity()  # folded: this part stays as it is
        self.encoder = Encoder()
        wide, hints = _CHANNELS, _HINTS
        self.merge32 = Merge(wide[32] + hints, 0, _WIDTH)
        self.merge16 = Merge(wide[16] + hints, _WIDTH, _WIDTH)
        self.merge8 = Merge(wide[8] + hints, _WIDTH, _WIDTH)
        self.merge4 = Merge(wide[4] + hints, _WIDTH, _WIDTH)
        self.merge2 = Merge(wide[2] + hints + 3, _WIDTH, _FINE_WIDTH)
        self.coarse = nn.Conv2d(_WIDTH, 1, 1)  # in training: what the whole is, at stride 16
        self.fine = nn.Conv2d(_FINE_WIDTH, 4, 3, padding=1)
        nn.init.zeros_(self.fine.weight)  # training starts at the first network's answer
        nn.init.zeros_(torch.as_tensor(self.fine.bias))

    def train(self, mode: bool = True) -> AlphacutLite:
        """Sets the mode; batch norm of what is trained already keeps its statistics."""
        super().train(mode)
        self.first.eval()
        self.encoder.eval()
        return self

    def logits(self, x: Tensor) -> tuple[Tensor, ...]:
        """The answer's logits, for training; then those at stride 16, enlarged; (N, 1, H, W)."""
        fused, correction, coarse = self._look_twice(x)
        return fused + correction, resize_like(coarse, x)

    def forward(self, x: Tensor) -> Tensor:
        """Saliency (N, 1, H, W) in [0, 1] of a normalised batch (N, 3, H, W), multiples of 32."""
        fused, correction, _ = self._look_twice(x)
        mean = fused + _BELIEVED * correction
        # where looks contradict each other their mean is half transparent: over an area, the surer
        # one decides, while thin differences are soft edges
        alike = -correction.abs()
        for sides in ((_AREA, 1), (1, _AREA)):  # one after the other, which is quicker
            alike = F.max_pool2d(alike, sides, 1, (sides[0] // 2, sides[1] // 2))
        return torch.sigmoid(mean * (1 - alike / _SUREST))

    def _look_twice(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The first look's logits, what the second one adds, and its coarse logits."""
        sides = self.first.sides(x)
        fused = self.first.fuse(sides, x)
        if self.training:  # else it would learn when to trust the first look, and little of objects
            told = (torch.rand(len(x), 1, 1, 1, device=x.device) >= _ALONE).to(x.dtype)
            fused, sides = fused * told, tuple(side * told for side in sides)
        fused = torch.clamp(fused, -_SUREST, _SUREST)
        hints = {
            stride: (F.avg_pool2d(fused, stride), torch.clamp(sides[k], -_SUREST, _SUREST))
            for stride, k in _SIDES.items()
        }
        maps = {
            stride: torch.cat((of_encoder, *(hint / 4 for hint in hints[stride])), dim=1)
            for stride, of_encoder in self.encoder(_recentre(x)).items()
        }
        y = self.merge16(maps[16], self.merge32(maps[32], None))
        coarse = self.coarse(y)
        y = self.merge4(maps[4], self.merge8(maps[8], y))
        y = self.merge2(torch.cat((maps[2], F.avg_pool2d(x, 2)), dim=1), y)
        return fused, F.pixel_shuffle(self.fine(y), 2), coarse


def _recentre(x: Tensor) -> Tensor:
    """A batch of U-2-Net's normalisation in EfficientNet-Lite's: (levels - 127) / 128."""
    mean, std = (x.new_tensor(each).view(1, 3, 1, 1) for each in (_MEAN, _STD))
    return (x * std + mean) * (255 / 128) - 127 / 128
