"""MODNet: portrait matting without a trimap, on MobileNetV2.

Ke et al., "MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition", AAAI 2022,
arXiv 2011.11961; backbone: Sandler et al. 2018, arXiv 1801.04381. Submodules are named as in the
published state dict, whose `backbone.*` are second names of `lr_branch.backbone.*`.
Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# MobileNetV2's stages: expansion, channels, blocks, stride of the first
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


def scale(x: Tensor, factor: float) -> Tensor:
    """Resize (N, C, h, w) bilinearly, without antialiasing."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class InvertedResidual(nn.Module):
    """Conv1x1 that expands, depth-wise Conv3x3, Conv1x1; added to the input where it fits."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_channels * expansion
        self.adds = stride == 1 and in_channels == out_channels
        expand = _conv_bn_relu6(in_channels, middle, 1) if expansion > 1 else []
        self.conv = nn.Sequential(
            *expand,
            *_conv_bn_relu6(middle, middle, 3, stride=stride, groups=middle),
            nn.Conv2d(middle, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


def _conv_bn_relu6(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups,
        bias=False,
    )  # fmt: skip
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU6()]


class MobileNetV2(nn.Module):
    """MobileNetV2: (N, 3, H, W) to three maps of 16, 24 and 1280 channels at 1/2, 1/4 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Sequential(*_conv_bn_relu6(3, 32, 3, stride=2))]
        channels = 32
        for expansion, out, count, stride in _STAGES:
            for k in range(count):
                blocks.append(InvertedResidual(channels, out, stride if k == 0 else 1, expansion))
                channels = out
        blocks.append(nn.Sequential(*_conv_bn_relu6(channels, 1280, 1)))
        self.model = nn.Module()
        self.model.features = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps after blocks 1, 3 and 18."""
        maps = []
        for k, block in enumerate(self.model.features):  # type: ignore[arg-type]
            x = block(x)
            if k in (1, 3, 18):
                maps.append(x)
        return tuple(maps)


class IBNorm(nn.Module):
    """Batch norm of the first half of the channels, instance norm of the others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_batch = channels // 2
        self.bnorm = nn.BatchNorm2d(self.in_batch)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each half; the second one by the image's own statistics, always."""
        first, second = x[:, : self.in_batch], x[:, self.in_batch :]
        return torch.cat((self.bnorm(first), F.instance_norm(second)), dim=1)


class ConvIBNormReLU(nn.Module):
    """ReLU(IBNorm(conv(x))), or with `plain` the convolution alone."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, plain: bool = False
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
        after = [] if plain else [IBNorm(out_channels), nn.ReLU()]
        self.layers = nn.Sequential(conv, *after)

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order."""
        y: Tensor = self.layers(x)
        return y


class SEBlock(nn.Module):
    """Weigh each channel by what all of them are on average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the weights."""
        weights: Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * weights[:, :, None, None]


class LowResolution(nn.Module):
    """Semantics: what is the person, roughly."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MobileNetV2()
        self.se_block = SEBlock(1280)
        self.conv_lr16x = ConvIBNormReLU(1280, 96, 5)
        self.conv_lr8x = ConvIBNormReLU(96, 32, 5)
        self.conv_lr = ConvIBNormReLU(32, 1, 3, stride=2, plain=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the map at 1/8, the backbone's at 1/2 and 1/4, and the semantics at 1/16."""
        map2, map4, map32 = self.backbone(x)
        at_16 = self.conv_lr16x(scale(self.se_block(map32), 2))
        at_8 = self.conv_lr8x(scale(at_16, 2))
        return at_8, map2, map4, torch.sigmoid(self.conv_lr(at_8))


class HighResolution(nn.Module):
    """Detail: the edges."""

    def __init__(self) -> None:
        super().__init__()
        conv = ConvIBNormReLU
        self.tohr_enc2x = conv(16, 32, 1)
        self.conv_enc2x = conv(35, 32, 3, stride=2)
        self.tohr_enc4x = conv(24, 32, 1)
        self.conv_enc4x = conv(64, 64, 3)
        self.conv_hr4x = nn.Sequential(conv(99, 64, 3), conv(64, 64, 3), conv(64, 32, 3))
        self.conv_hr2x = nn.Sequential(
            conv(64, 64, 3), conv(64, 32, 3), conv(32, 32, 3), conv(32, 32, 3)
        )
        self.conv_hr = nn.Sequential(conv(35, 32, 3), conv(32, 1, 1, plain=True))

    def forward(self, x: Tensor, map2: Tensor, map4: Tensor, at_8: Tensor) -> Tensor:
        """Return the map at 1/2."""
        at_2 = self.tohr_enc2x(map2)
        at_4 = self.conv_enc2x(torch.cat((scale(x, 0.5), at_2), dim=1))
        at_4 = self.conv_enc4x(torch.cat((at_4, self.tohr_enc4x(map4)), dim=1))
        at_4 = self.conv_hr4x(torch.cat((at_4, scale(at_8, 2), scale(x, 0.25)), dim=1))
        y: Tensor = self.conv_hr2x(torch.cat((scale(at_4, 2), at_2), dim=1))
        return y

    def detail(self, x: Tensor, at_2: Tensor) -> Tensor:
        """Return the detail (N, 1, H, W) in [0, 1], for training."""
        return torch.sigmoid(self.conv_hr(torch.cat((scale(at_2, 2), x), dim=1)))


class Fusion(nn.Module):
    """Alpha of semantics and detail."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_lr4x = ConvIBNormReLU(32, 32, 5)
        self.conv_f2x = ConvIBNormReLU(64, 32, 3)
        self.conv_f = nn.Sequential(ConvIBNormReLU(35, 16, 3), ConvIBNormReLU(16, 1, 1, plain=True))

    def forward(self, x: Tensor, at_8: Tensor, at_2: Tensor) -> Tensor:
        """Return alpha (N, 1, H, W) in [0, 1]."""
        at_4 = self.conv_lr4x(scale(at_8, 2))
        fused = self.conv_f2x(torch.cat((scale(at_4, 2), at_2), dim=1))
        return torch.sigmoid(self.conv_f(torch.cat((scale(fused, 2), x), dim=1)))


class MODNet(nn.Module):
    """MODNet. Height and width are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.lr_branch = LowResolution()
        self.hr_branch = HighResolution()
        self.f_branch = Fusion()

    def alphas(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return alpha and, for training, the semantics at 1/16 and the detail."""
        at_8, map2, map4, semantic = self.lr_branch(x)
        at_2 = self.hr_branch(x, map2, map4, at_8)
        return self.f_branch(x, at_8, at_2), semantic, self.hr_branch.detail(x, at_2)

    def forward(self, x: Tensor) -> Tensor:
        """Return alpha (N, 1, H, W) in [0, 1] for a normalised batch (N, 3, H, W)."""
        at_8, map2, map4, _ = self.lr_branch(x)
        alpha: Tensor = self.f_branch(x, at_8, self.hr_branch(x, map2, map4, at_8))
        return alpha
