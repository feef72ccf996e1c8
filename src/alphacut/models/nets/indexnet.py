"""IndexNet matting: alpha from an image and a trimap, with learned pooling indices.

Lu et al., "Indices Matter: Learning to Index for Deep Image Matting", ICCV 2019, arXiv 1908.00672,
with MobileNetV2, ASPP and depth-wise many-to-one index blocks (non-linear, with context). Written
from a description of the published network, with its submodule names. Shapes: N images, C channels,
H x W pixels. No convolution has a bias.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> list[nn.Module]:
    """Make a convolution and BN."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


class InvertedResidual(nn.Module):
    """MobileNetV2 block at stride 1: (N, in, H, W) to (N, out, H, W).

    If the block expands, the first convolution pads instead of the depth-wise one, whose border is
    therefore ReLU6(BN(0)), not 0.
    """

    def __init__(self, in_channels: int, out_channels: int, t: int) -> None:
        super().__init__()
        hidden = t * in_channels
        expand = [*_conv_bn(in_channels, hidden, padding=1), nn.ReLU6()] if t > 1 else []
        self.conv = nn.Sequential(
            *expand,
            *_conv_bn(hidden, hidden, 3, padding=0 if expand else 1, groups=hidden),
            nn.ReLU6(),
            *_conv_bn(hidden, out_channels),
        )
        self.residual = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Add x if the channels match."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


def _layer(t: int, blocks: int, in_channels: int, out_channels: int) -> nn.Sequential:
    """Chain inverted residuals, all of expansion t."""
    return nn.Sequential(
        InvertedResidual(in_channels, out_channels, t),
        *(InvertedResidual(out_channels, out_channels, t) for _ in range(blocks - 1)),
    )


class IndexBlock(nn.Module):
    """Learned pooling indices: four branches, one for each pixel of a 2 x 2 cell."""

    def __init__(self, C: int, expansion: int) -> None:
        super().__init__()
        for k in range(1, 5):
            branch = nn.Sequential(
                *_conv_bn(C, expansion * C, 4, stride=2, padding=1),
                nn.ReLU6(),
                nn.Conv2d(expansion * C, C, 1, bias=False),
            )
            self.add_module(f"indexnet{k}", branch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return encoder and decoder indices, each (N, C, H, W) in (0, 1), for x (N, C, H, W)."""
        s = torch.stack([getattr(self, f"indexnet{k}")(x) for k in range(1, 5)], dim=2)
        y = torch.sigmoid(s)  # (N, C, 4, H / 2, W / 2)
        z = torch.softmax(y, dim=2)
        return F.pixel_shuffle(z.flatten(1, 2), 2), F.pixel_shuffle(y.flatten(1, 2), 2)


class Atrous(nn.Module):
    """A branch of the pyramid: depth-wise separable with dilation d, or 1 x 1 if d is 1."""

    def __init__(self, in_channels: int, out_channels: int, d: int) -> None:
        super().__init__()
        depthwise = _conv_bn(in_channels, in_channels, 3, padding=d, dilation=d, groups=in_channels)
        self.atrous_conv = nn.Sequential(
            *([*depthwise, nn.ReLU6()] if d > 1 else []),
            *_conv_bn(in_channels, out_channels),
            nn.ReLU6(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, h, w) to (N, out, h, w)."""
        y: Tensor = self.atrous_conv(x)
        return y


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: (N, 320, h, w) to (N, 160, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.aspp1 = Atrous(320, 256, 1)
        self.aspp2 = Atrous(320, 256, 2)
        self.aspp3 = Atrous(320, 256, 4)
        self.aspp4 = Atrous(320, 256, 8)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *_conv_bn(320, 256), nn.ReLU6()
        )
        self.bottleneck_conv = nn.Sequential(*_conv_bn(5 * 256, 160), nn.ReLU6(), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate and reduce the five branches."""
        maps = [self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x)]
        pooled = self.global_avg_pool(x).expand_as(maps[0])
        y: Tensor = self.bottleneck_conv(torch.cat((*maps, pooled), dim=1))
        return y


class DecoderLayer(nn.Module):
    """ReLU6(BN(Conv5x5(cat(t, skip))))."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.dconv = nn.Sequential(*_conv_bn(in_channels, out_channels, 5, padding=2), nn.ReLU6())

    def forward(self, t: Tensor, skip: Tensor) -> Tensor:
        """Map (N, c, h, w) and (N, in - c, h, w) to (N, out, h, w)."""
        y: Tensor = self.dconv(torch.cat((t, skip), dim=1))
        return y


class IndexNet(nn.Module):
    """IndexNet matting: image and trimap to alpha.

    Args:
        expansion: Of the index blocks: 1 as in the released code (5.95 M parameters), 2 as in the
            paper's figures (8.15 M).
    """

    def __init__(self, expansion: int = 1) -> None:
        super().__init__()
        self.layer0 = nn.Sequential(*_conv_bn(4, 32, 3, padding=1), nn.ReLU6())
        self.layer1 = _layer(1, 1, 32, 16)
        self.layer2 = _layer(6, 2, 16, 24)
        self.layer3 = _layer(6, 3, 24, 32)
        self.layer4 = _layer(6, 4, 32, 64)
        self.layer5 = _layer(6, 3, 64, 96)
        self.layer6 = _layer(6, 3, 96, 160)
        self.layer7 = _layer(6, 1, 160, 320)
        self.index0 = IndexBlock(32, expansion)
        self.index2 = IndexBlock(24, expansion)
        self.index3 = IndexBlock(32, expansion)
        self.index4 = IndexBlock(64, expansion)
        self.index6 = IndexBlock(160, expansion)
        self.dconv_pp = ASPP()
        self.decoder_layer6 = DecoderLayer(320, 96)
        self.decoder_layer5 = DecoderLayer(192, 64)
        self.decoder_layer4 = DecoderLayer(128, 32)
        self.decoder_layer3 = DecoderLayer(64, 24)
        self.decoder_layer2 = DecoderLayer(48, 16)
        self.decoder_layer1 = DecoderLayer(32, 32)
        self.decoder_layer0 = DecoderLayer(64, 32)
        norm, output = nn.BatchNorm2d(1), nn.Conv2d(1, 1, 5, padding=2, bias=False)
        last = nn.Conv2d(32, 1, 5, padding=2, bias=False)
        self.pred = nn.Sequential(nn.Sequential(last, norm, nn.ReLU6()), output)
        # Everything passes through one channel after a ReLU. Random weights blur it, and may make
        # alpha negative, which training then shuts off for good; so it starts mostly open.
        nn.init.dirac_(output.weight)
        nn.init.constant_(norm.weight, 0.5)
        nn.init.constant_(norm.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return raw alpha (N, 1, H, W), unclipped, for x (N, 4, H, W): normalised RGB and trimap.

        H and W must be multiples of 32. The trimap channel is 0, 128 / 255 or 1.
        """
        m, skip0, de0 = _reduce(self.index0, self.layer0(x))
        skip1 = self.layer1(m)
        m, skip2, de2 = _reduce(self.index2, self.layer2(skip1))
        m, skip3, de3 = _reduce(self.index3, self.layer3(m))
        m, skip4, de4 = _reduce(self.index4, self.layer4(m))
        skip5 = self.layer5(m)
        m, skip6, de6 = _reduce(self.index6, self.layer6(skip5))
        t = self.dconv_pp(self.layer7(m))
        t = self.decoder_layer6(_restore(t, de6), skip6)
        t = self.decoder_layer5(t, skip5)
        t = self.decoder_layer4(_restore(t, de4), skip4)
        t = self.decoder_layer3(_restore(t, de3), skip3)
        t = self.decoder_layer2(_restore(t, de2), skip2)
        t = self.decoder_layer1(t, skip1)
        t = self.decoder_layer0(_restore(t, de0), skip0)
        alpha: Tensor = self.pred(t)
        return alpha


def _reduce(index: IndexBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pool by index; return the map at half size, the weighted map and the decoder's indices.

    The encoder's indices sum to 1 over a cell, so four times the mean is a convex combination.
    """
    en, de = index(x)
    skip = en * x
    return 4 * F.avg_pool2d(skip, 2), skip, de


def _restore(t: Tensor, de: Tensor) -> Tensor:
    """Upsample by index: (N, C, h, w) to (N, C, 2 h, 2 w)."""
    return de * F.interpolate(t, scale_factor=2, mode="nearest")
