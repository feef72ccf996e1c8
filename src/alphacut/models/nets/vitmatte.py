"""ViTMatte: matting within a trimap, on a plain vision transformer.

Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers",
Information Fusion 2024, arXiv 2305.15272. Submodules are named as in the published state dict.
Shapes: N images, C channels, H x W pixels, h x w tokens of 16 x 16 pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alphacut.models.nets.swin import Mlp, windows

CHANNELS, HEADS, PATCH, WINDOW = 384, 6, 16, 14
_GLOBAL = (2, 5, 8, 11)  # blocks that see the whole image, and end with convolutions
_TRAINED = 14, 32  # tokens in a row that position embedding and global blocks were trained with


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a map (N, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel."""
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return y.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Attention of all tokens of a map, with the relative row and column of each pair."""

    def __init__(self, trained: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.proj = nn.Linear(CHANNELS, CHANNELS)
        width = CHANNELS // HEADS
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * trained - 1, width))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * trained - 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (N, h, w, C) to same."""
        h, w = x.shape[1:3]
        width = CHANNELS // HEADS
        qkv = self.qkv(x).reshape(-1, h * w, 3, HEADS, width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        logits = (q * width**-0.5) @ k.transpose(-2, -1)
        by_place = q.reshape(-1, HEADS, h, w, width)
        rows = torch.einsum("nhyxc,ykc->nhyxk", by_place, _relative(self.rel_pos_h, h))
        columns = torch.einsum("nhyxc,xkc->nhyxk", by_place, _relative(self.rel_pos_w, w))
        logits = logits.reshape(-1, HEADS, h, w, h, w)
        logits = logits + rows[..., :, None] + columns[..., None, :]
        y = logits.reshape(-1, HEADS, h * w, h * w).softmax(dim=-1) @ v
        z: Tensor = self.proj(y.transpose(1, 2).reshape(-1, h, w, CHANNELS))
        return z


def _relative(table: Tensor, length: int) -> Tensor:
    """Return a table's entry for each pair of places, (length, length, C), resized to fit."""
    entries = F.interpolate(table.T[None], size=2 * length - 1, mode="linear")[0].T
    at = torch.arange(length, device=table.device)
    return entries[at[:, None] - at + length - 1]


class Bottleneck(nn.Module):
    """Conv1x1, Conv3x3, Conv1x1, each normalised, added to the input."""

    def __init__(self) -> None:
        super().__init__()
        half = CHANNELS // 2
        self.conv1 = nn.Conv2d(CHANNELS, half, 1, bias=False)
        self.norm1 = ChannelNorm(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.norm2 = ChannelNorm(half)
        self.conv3 = nn.Conv2d(half, CHANNELS, 1, bias=False)
        self.norm3 = ChannelNorm(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual: (N, C, h, w) to same."""
        y = F.gelu(self.norm1(self.conv1(x)))
        y = F.gelu(self.norm2(self.conv2(y)))
        z: Tensor = x + self.norm3(self.conv3(y))
        return z


class Block(nn.Module):
    """Attention and MLP: (N, h, w, C) to same; within windows of 14 x 14 tokens unless global."""

    def __init__(self, is_global: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.attn = Attention(_TRAINED[1] if is_global else WINDOW)
        self.norm2 = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.mlp = Mlp(CHANNELS)
        self.residual = Bottleneck() if is_global else None

    def forward(self, x: Tensor) -> Tensor:
        """Update the tokens."""
        y = self.norm1(x)
        z: Tensor
        if self.residual is not None:
            x = x + self.attn(y)
            x = x + self.mlp(self.norm2(x))
            z = self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return z
        h, w = x.shape[1:3]
        y = F.pad(y, (0, 0, 0, -w % WINDOW, 0, -h % WINDOW))
        y = self.attn(windows(y, WINDOW).reshape(-1, WINDOW, WINDOW, CHANNELS))
        rows, columns = (h + WINDOW - 1) // WINDOW, (w + WINDOW - 1) // WINDOW
        y = y.reshape(-1, rows, columns, WINDOW, WINDOW, CHANNELS).transpose(2, 3)
        y = y.reshape(-1, rows * WINDOW, columns * WINDOW, CHANNELS)
        x = x + y[:, :h, :w]
        z = x + self.mlp(self.norm2(x))
        return z


class PatchEmbed(nn.Module):
    """Conv16x16 with stride 16: (N, 4, H, W) to (N, H / 16, W / 16, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(4, CHANNELS, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        y: Tensor = self.proj(x)
        return y.permute(0, 2, 3, 1)


class ViT(nn.Module):
    """The backbone: (N, 4, H, W) to (N, C, H / 16, W / 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, _TRAINED[0] ** 2 + 1, CHANNELS))
        self.patch_embed = PatchEmbed()
        self.blocks = nn.ModuleList(Block(k in _GLOBAL) for k in range(12))

    def forward(self, x: Tensor) -> Tensor:
        """Return the last block's map."""
        x = self.patch_embed(x)
        side = _TRAINED[0]
        places = self.pos_embed[:, 1:].reshape(1, side, side, CHANNELS).permute(0, 3, 1, 2)
        places = F.interpolate(places, size=x.shape[1:3], mode="bicubic", align_corners=False)
        x = x + places.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class ConvBNReLU(nn.Module):
    """ReLU(BN(Conv3x3(x)))."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        return F.relu(self.bn(self.conv(x)))


class DetailCapture(nn.Module):
    """Fuse the backbone's map with convolutions of the input on four levels."""

    def __init__(self) -> None:
        super().__init__()
        details, fused = (4, 48, 96, 192), (CHANNELS, 256, 128, 64, 32)
        self.convstream = nn.Module()
        self.convstream.convs = nn.ModuleList(
            ConvBNReLU(details[k], details[k + 1], stride=2) for k in range(3)
        )
        self.fusion_blks = nn.ModuleList()
        for k in range(4):
            block = nn.Module()
            block.conv = ConvBNReLU(details[3 - k] + fused[k], fused[k + 1])
            self.fusion_blks.append(block)
        self.matting_head = nn.Module()
        self.matting_head.matting_convs = nn.Sequential(
            nn.Conv2d(32, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 1, 1)
        )

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Return alpha (N, 1, H, W) in [0, 1] for the input x (N, 4, H, W) and the map."""
        details = [x]
        for conv in self.convstream.convs:  # type: ignore[union-attr]
            details.append(conv(details[-1]))
        for block in self.fusion_blks:
            up = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = block.get_submodule("conv")(torch.cat((details.pop(), up), dim=1))
        return torch.sigmoid(self.matting_head.matting_convs(features))  # type: ignore[operator]


class ViTMatte(nn.Module):
    """ViTMatte-S. Height and width are multiples of 32.

    Memory grows with the square of the tokens: 1024 x 1024 pixels are 4096.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ViT()
        self.decoder = DetailCapture()

    def forward(self, x: Tensor) -> Tensor:
        """Return alpha (N, 1, H, W) in [0, 1] for RGB, normalised, and a trimap (N, 4, H, W)."""
        alpha: Tensor = self.decoder(x, self.backbone(x))
        return alpha
