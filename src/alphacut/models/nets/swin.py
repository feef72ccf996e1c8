"""Swin Transformer, the backbone of BiRefNet and InSPyReNet.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
arXiv 2103.14030. Submodules are named as in the published state dict, whose
`relative_position_index` follows from the window's size and is computed here.
Shapes: N images, C channels, H x W pixels, h x w tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class SwinSize:
    """How large a Swin Transformer is.

    Attributes:
        channels: Of the first stage; each later one has twice as many.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        window: Side of the windows in tokens.
    """

    channels: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int


TINY = SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24), 7)
BASE = SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32), 12)
LARGE = SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48), 12)


class WindowAttention(nn.Module):
    """Attention within windows of w x w tokens, with a bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        y, x = torch.arange(window**2) // window, torch.arange(window**2) % window
        rows, columns = (axis[:, None] - axis + window - 1 for axis in (y, x))
        index = rows * (2 * window - 1) + columns
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within each window.

        Args:
            x: (N * windows, w * w, C).
            mask: (windows, w * w, w * w), added to the logits; None where all tokens see each
                other.
        """
        channels, tokens = x.shape[-1], self.relative_position_index.shape[0]
        qkv = self.qkv(x).reshape(-1, tokens, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        logits = (q * (channels // self.heads) ** -0.5) @ k.transpose(-2, -1) + bias
        if mask is not None:
            by_image = logits.reshape(-1, mask.shape[0], self.heads, tokens, tokens)
            logits = (by_image + mask[:, None]).reshape(-1, self.heads, tokens, tokens)
        y = (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(-1, tokens, channels)
        z: Tensor = self.proj(y)
        return z


class Mlp(nn.Module):
    """Linear, GELU, linear: C to 4 C to C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class SwinBlock(nn.Module):
    """Attention and MLP, each on normalised tokens and added to its input: (N, h, w, C) to same.

    Odd blocks shift the windows by half of their side.
    """

    def __init__(self, channels: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Update the tokens.

        Args:
            x: (N, h, w, C).
            mask: (windows, w * w, w * w), for the shifted windows of a map of this size.
        """
        h, w, channels = x.shape[1:]
        side = self.window
        # padded tokens are zero after the normalisation and take part
        y = F.pad(self.norm1(x), (0, 0, 0, -w % side, 0, -h % side))
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = windows(y, side)
        y = self.attn(y, mask if self.shift else None)
        rows, columns = (h + side - 1) // side, (w + side - 1) // side
        y = y.reshape(-1, rows, columns, side, side, channels).transpose(2, 3)
        y = y.reshape(-1, rows * side, columns * side, channels)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + y[:, :h, :w]
        z: Tensor = x + self.mlp(self.norm2(x))
        return z


def windows(x: Tensor, side: int) -> Tensor:
    """Cut maps (N, h, w, C) into windows (N * windows, side * side, C); sides divide the map."""
    _, h, w, channels = x.shape
    x = x.reshape(-1, h // side, side, w // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side * side, channels)


def shift_mask(x: Tensor, side: int) -> Tensor:
    """Return which tokens of a map's shifted windows come from the same part: 0 or -inf.

    Args:
        x: (N, h, w, C), the map before it is padded.
        side: Of the windows, which are shifted by half of it.

    Returns:
        (windows, side * side, side * side).
    """
    h, w = x.shape[1:3]

    def parts(length: int) -> Tensor:
        padded = (length + side - 1) // side * side
        at = torch.arange(padded, device=x.device)
        return (at >= padded - side).long() + (at >= padded - side // 2).long()

    part = parts(h)[:, None] * 3 + parts(w)
    of_tokens = windows(part[None, :, :, None].to(x.dtype), side)[..., 0]
    differ = of_tokens[:, None, :] - of_tokens[:, :, None]
    # -100 as exactly zero after the softmax as -inf, and finite in every arithmetic
    return (differ != 0).to(x.dtype) * -100


class PatchMerging(nn.Module):
    """Join 2 x 2 tokens: (N, h, w, C) to (N, h / 2, w / 2, 2 C), odd sides padded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate each square down its columns, normalise and reduce."""
        h, w = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        squares = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        y: Tensor = self.reduction(self.norm(torch.cat(squares, dim=-1)))
        return y


class Stage(nn.Module):
    """Blocks of one resolution, and the merging after them, if any."""

    def __init__(self, channels: int, depth: int, heads: int, window: int, last: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window, shifted=bool(k % 2)) for k in range(depth)
        )
        self.downsample = nn.Identity() if last else PatchMerging(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (N, h, w, C), and what the next stage begins with."""
        mask = shift_mask(x, self.window)
        for block in self.blocks:
            x = block(x, mask)
        return x, self.downsample(x)


class PatchEmbed(nn.Module):
    """Conv4x4 with stride 4, normalised: (N, 3, H, W) to (N, H / 4, W / 4, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Pad to multiples of 4, project and normalise."""
        h, w = x.shape[2:]
        y: Tensor = self.proj(F.pad(x, (0, -w % 4, 0, -h % 4)))
        z: Tensor = self.norm(y.permute(0, 2, 3, 1))
        return z


class Swin(nn.Module):
    """Swin Transformer of a size, without a head.

    `forward` returns the patch embedding and the maps of the four stages, each normalised, of
    1/4, 1/4, 1/8, 1/16 and 1/32 of the image's size, in C, C, 2 C, 4 C and 8 C channels.
    """

    def __init__(self, size: SwinSize) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(size.channels)
        channels = [size.channels << k for k in range(4)]
        self.layers = nn.ModuleList(
            Stage(channels[k], size.depths[k], size.heads[k], size.window, last=k == 3)
            for k in range(4)
        )
        for k in range(4):
            self.add_module(f"norm{k}", nn.LayerNorm(channels[k]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the five maps (N, C, h, w) for a normalised batch (N, 3, H, W) of any size."""
        tokens = self.patch_embed(x)
        maps = [tokens]
        for k, stage in enumerate(self.layers):
            out, tokens = stage(tokens)
            maps.append(getattr(self, f"norm{k}")(out))
        return tuple(each.permute(0, 3, 1, 2) for each in maps)
