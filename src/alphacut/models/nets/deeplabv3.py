"""DeepLabV3 on a dilated ResNet: 21 classes of Pascal VOC.

Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv 1706.05587;
He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385. Submodules
are named as in torchvision's state dict; the auxiliary head, used only in training, is left out.
Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 21


class Bottleneck(nn.Module):
    """ReLU(shortcut(x) + Conv1x1, Conv3x3, Conv1x1 of x): (N, in, H, W) to (N, 4 width, h, w)."""

    def __init__(
        self, in_channels: int, width: int, stride: int, dilation: int, first: bool
    ) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if first
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _layer(
    in_channels: int, width: int, blocks: int, stride: int, dilations: tuple[int, int]
) -> nn.Sequential:
    """Chain bottlenecks; the first has the stride, the shortcut and its own dilation."""
    first, rest = dilations
    return nn.Sequential(
        Bottleneck(in_channels, width, stride, first, first=True),
        *(Bottleneck(4 * width, width, 1, rest, first=False) for _ in range(blocks - 1)),
    )


class ResNet(nn.Module):
    """ResNet with bottlenecks and output stride 8: (N, 3, H, W) to (N, 2048, H / 8, W / 8)."""

    def __init__(self, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 64, blocks[0], 1, (1, 1))
        self.layer2 = _layer(256, 128, blocks[1], 2, (1, 1))
        # dilation replaces stride; the first block keeps the previous layer's dilation
        self.layer3 = _layer(512, 256, blocks[2], 1, (1, 2))
        self.layer4 = _layer(1024, 512, blocks[3], 1, (2, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Run the stem and the four layers."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        y: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return y


def _conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int, dilation: int
) -> list[nn.Module]:
    """Make a size-preserving convolution, BN and ReLU."""
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: (N, 2048, h, w) to (N, 256, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*_conv_bn_relu(2048, 256, 1, 1)),
                *(nn.Sequential(*_conv_bn_relu(2048, 256, 3, d)) for d in (12, 24, 36)),
                nn.Sequential(nn.AdaptiveAvgPool2d(1), *_conv_bn_relu(2048, 256, 1, 1)),
            ]
        )
        self.project = nn.Sequential(*_conv_bn_relu(5 * 256, 256, 1, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate and project the five branches."""
        *maps, pooled = (branch(x) for branch in self.convs)
        # upsampling a single pixel repeats it
        y: Tensor = self.project(torch.cat((*maps, pooled.expand_as(maps[0])), dim=1))
        return y


class DeepLabV3(nn.Module):
    """DeepLabV3; `blocks` is (3, 4, 23, 3) for ResNet-101 and (3, 4, 6, 3) for ResNet-50."""

    def __init__(self, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.backbone = ResNet(blocks)
        self.classifier = nn.Sequential(
            ASPP(), *_conv_bn_relu(256, 256, 3, 1), nn.Conv2d(256, CLASSES, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 21, H, W), background first, for a normalised batch x (N, 3, H, W)."""
        logits = self.classifier(self.backbone(x))
        return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
