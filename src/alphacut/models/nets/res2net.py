"""Res2Net-50 v1b, a backbone of InSPyReNet.

Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", TPAMI 2021, arXiv 1904.01169.
Submodules are named as in the published state dict. Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottle2Neck(nn.Module):
    """Conv1x1, four groups of channels each convolved with what the last gave, Conv1x1; added."""

    def __init__(
        self, in_channels: int, planes: int, stride: int, dilation: int, first: bool
    ) -> None:
        super().__init__()
        width = planes * 26 // 64
        self.first, self.stride = first, stride
        self.conv1 = nn.Conv2d(in_channels, 4 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.convs = nn.ModuleList(
            nn.Conv2d(
                width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
            )
            for _ in range(3)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))
        self.conv3 = nn.Conv2d(4 * width, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = (
            nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, 4 * planes, 1, bias=False),
                nn.BatchNorm2d(4 * planes),
            )
            if first
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        groups = F.relu(self.bn1(self.conv1(x))).chunk(4, dim=1)
        parts: list[Tensor] = []
        for k, (conv, norm) in enumerate(zip(self.convs, self.bns, strict=True)):
            y = groups[k] if self.first or k == 0 else parts[-1] + groups[k]
            parts.append(F.relu(norm(conv(y))))
        last = F.avg_pool2d(groups[3], 3, self.stride, 1) if self.first else groups[3]
        y = self.bn3(self.conv3(torch.cat((*parts, last), dim=1)))
        return F.relu(y + self.downsample(x))


class Res2Net(nn.Module):
    """Res2Net-50 v1b with 26 channels in 4 groups, its last two layers dilated besides strided.

    `forward` returns five maps of 64, 256, 512, 1024 and 2048 channels, at 1/4, 1/4, 1/8, 1/16 and
    1/32 of the image's size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        # planes, stride, and the dilation of each block
        layers = (
            (64, 1, (1,) * 3),
            (128, 2, (1,) * 4),
            (256, 2, (2,) * 6),
            (512, 2, (4, 8, 16)),
        )
        for k, (planes, stride, dilations) in enumerate(layers, start=1):
            blocks = []
            for j, dilation in enumerate(dilations):
                first = j == 0
                blocks.append(
                    Bottle2Neck(channels, planes, stride if first else 1, dilation, first)
                )
                channels = 4 * planes
            self.add_module(f"layer{k}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the five maps for a normalised batch (N, 3, H, W)."""
        maps = [F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)]
        for k in range(1, 5):
            maps.append(self.get_submodule(f"layer{k}")(maps[-1]))
        return tuple(maps)
