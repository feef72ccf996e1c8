"""BiRefNet: dichotomous segmentation that looks at the image itself on every level.

Zheng et al., "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", CAAI AIR
2024, arXiv 2401.03407; deformable convolution: Zhu et al. 2019, arXiv 1811.11168. Submodules are
named as in the published state dict. Left out are `gdt_convs_pred_*`, which only training uses.
Shapes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alphacut.models.nets.swin import Swin, SwinSize

PatchOrder = Literal["row", "column"]


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Resize (N, C, h, w) bilinearly to another map's size, corners aligned."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class _DeformConv(torch.autograd.Function):
    """The operation as ONNX has it from opset 19 on, for export alone."""

    @staticmethod
    def forward(
        _ctx: Any, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor, mask: Tensor
    ) -> Tensor:
        """Return zeros: of a graph that is traced only shapes count."""
        return x.new_zeros(x.shape[0], weight.shape[0], *x.shape[2:])

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, offset: Any, bias: Any, mask: Any) -> Any:
        """Write the node."""
        kernel = weight.type().sizes()[-2:]
        pads = [side // 2 for side in kernel] * 2
        node = g.op(
            "DeformConv", x, weight, offset, bias, mask,
            kernel_shape_i=kernel, pads_i=pads, strides_i=[1, 1], dilations_i=[1, 1],
            group_i=1, offset_group_i=1,
        )  # fmt: skip
        return node.setType(x.type().with_sizes([None, weight.type().sizes()[0], None, None]))


def deform_conv(x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """Convolve where the taps of the kernel are moved and weighted at each position.

    A sum over the taps: each samples the map bilinearly, zeros outside, as a 1x1 convolution.

    Args:
        x: (N, C, h, w).
        weight: (O, C, k, k); the padding is k // 2.
        offset: (N, 2 k k, h, w): dy, dx of each tap, in pixels.
        bias: (O,).
        mask: (N, k k, h, w), the taps' weights.

    Returns:
        (N, O, h, w).
    """
    h, w = x.shape[-2:]
    k = weight.shape[-1]
    y0 = torch.arange(h, device=x.device, dtype=torch.float32)[:, None] - k // 2
    x0 = torch.arange(w, device=x.device, dtype=torch.float32) - k // 2
    source, moves = x.float(), offset.float()  # half precision would round positions
    total = bias[:, None, None].expand(len(x), -1, h, w)
    for tap in range(k * k):
        at_y = y0 + tap // k + moves[:, 2 * tap]
        at_x = x0 + tap % k + moves[:, 2 * tap + 1]
        grid = torch.stack(((2 * at_x + 1) / w - 1, (2 * at_y + 1) / h - 1), dim=-1)
        seen = F.grid_sample(source, grid, padding_mode="zeros", align_corners=False).to(x.dtype)
        seen = seen * mask[:, tap : tap + 1]
        total = total + F.conv2d(seen, weight[:, :, tap // k, tap % k, None, None])
    return total


class DeformableConv(nn.Module):
    """Deformable convolution, modulated ("v2"): (N, in, h, w) to (N, out, h, w).

    Both offsets and modulators, from 0 to 2, are convolutions of the map itself.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        taps, padding = kernel * kernel, kernel // 2
        self.offset_conv = nn.Conv2d(in_channels, 2 * taps, kernel, padding=padding)
        self.modulator_conv = nn.Conv2d(in_channels, taps, kernel, padding=padding)
        self.regular_conv = nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Move, weight and convolve."""
        weight, bias = self.regular_conv.weight, self.regular_conv.bias
        if bias is None:
            bias = weight.new_zeros(len(weight))
        offset, mask = self.offset_conv(x), 2 * torch.sigmoid(self.modulator_conv(x))
        if torch.onnx.is_in_onnx_export():
            y: Tensor = _DeformConv.apply(x, weight, offset, bias, mask)  # type: ignore[no-untyped-call]
            return y
        return deform_conv(x, weight, offset, bias, mask)


class DeformableBranch(nn.Module):
    """ReLU(BN(deformable convolution)): (N, in, h, w) to (N, out, h, w)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.atrous_conv = DeformableConv(in_channels, out_channels, kernel)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three in order."""
        return F.relu(self.bn(self.atrous_conv(x)))


class ASPPDeformable(nn.Module):
    """Pyramid of deformable convolutions, kernels 1, 1, 3, 7, and the map's mean: C to C."""

    def __init__(self, channels: int = 64, middle: int = 256) -> None:
        super().__init__()
        self.aspp1 = DeformableBranch(channels, middle, 1)
        self.aspp_deforms = nn.ModuleList(DeformableBranch(channels, middle, k) for k in (1, 3, 7))
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, middle, 1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
        )
        self.conv1 = nn.Conv2d(5 * middle, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the five branches and project them."""
        maps = [self.aspp1(x), *(branch(x) for branch in self.aspp_deforms)]
        pooled = self.global_avg_pool(x).expand_as(maps[0])
        y = F.relu(self.bn1(self.conv1(torch.cat((*maps, pooled), dim=1))))
        return F.dropout(y, 0.5, self.training)


class DecoderBlock(nn.Module):
    """Conv3x3 to 64, the pyramid, Conv3x3: (N, in, h, w) to (N, out, h, w)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, 64, 3, padding=1)
        self.bn_in = nn.BatchNorm2d(64)
        self.dec_att = ASPPDeformable()
        self.conv_out = nn.Conv2d(64, out_channels, 3, padding=1)
        self.bn_out = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order; there is no ReLU at the end."""
        y: Tensor = self.bn_out(self.conv_out(self.dec_att(F.relu(self.bn_in(self.conv_in(x))))))
        return y


class PatchBlock(nn.Module):
    """Two Conv3x3 with nothing between: (N, in, h, w) to (N, out, h, w)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1)
        self.conv_out = nn.Conv2d(64, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        y: Tensor = self.conv_out(self.conv1(x))
        return y


class Lateral(nn.Module):
    """Conv1x1 that keeps the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        y: Tensor = self.conv(x)
        return y


def patches(image: Tensor, crops: int, order: PatchOrder) -> Tensor:
    """Cut an image into crops x crops adjacent parts and stack them as channels.

    Args:
        image: (N, 3, H, W).
        crops: Parts in a row and in a column.
        order: Which index of a channel counts fastest: "row", the column of the part, then its
            row, then the colour; "column", as before 2024-11-05, the colour, the row, the column.

    Returns:
        (N, 3 * crops * crops, H / crops, W / crops).
    """
    if crops == 1:
        return image
    H, W = image.shape[-2:]
    parts = image.reshape(-1, 3, crops, H // crops, crops, W // crops)
    axes = (0, 1, 2, 4, 3, 5) if order == "row" else (0, 4, 2, 1, 3, 5)
    return parts.permute(axes).reshape(-1, 3 * crops * crops, H // crops, W // crops)


class Decoder(nn.Module):
    """From the backbone's maps and the image to a logit of the image's size.

    Args:
        channels: Of the maps x_1 to x_4.
        order: Of the patches' channels; the weights depend on it.
    """

    def __init__(self, channels: list[int], order: PatchOrder) -> None:
        super().__init__()
        self.order = order
        c1, c2, c3, c4 = channels
        # level: image patches' output channels
        of_patches = {5: c4 // 8, 4: c4 // 8, 3: c3 // 8, 2: c2 // 8, 1: c1 // 8}
        for level, out in of_patches.items():
            crops = 2**level if level > 1 else 1
            self.add_module(f"ipt_blk{level}", PatchBlock(3 * crops * crops, out))
        blocks = {4: (c4, c3), 3: (c3, c2), 2: (c2, c1), 1: (c1, c1 // 2)}
        for level, (deep, out) in blocks.items():
            block = DecoderBlock(deep + of_patches[level + 1], out)
            self.add_module(f"decoder_block{level}", block)
        self.conv_out1 = nn.Sequential(nn.Conv2d(c1 // 2 + of_patches[1], 1, 1))
        for level, (_, out) in list(blocks.items())[:3]:
            self.add_module(f"lateral_block{level}", Lateral(out))
            self.add_module(f"conv_ms_spvn_{level}", nn.Conv2d(out, 1, 1))
            self.add_module(
                f"gdt_convs_{level}",
                nn.Sequential(nn.Conv2d(out, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            )
            self.add_module(f"gdt_convs_attn_{level}", nn.Sequential(nn.Conv2d(16, 1, 1)))

    def forward(self, image: Tensor, maps: list[Tensor], sides: bool) -> tuple[Tensor, ...]:
        """Return the logit (N, 1, H, W), with `sides` followed by those of levels 4, 3, 2."""
        t, logits = maps[3], []
        for level in (4, 3, 2, 1):
            # a crop has the size of the map
            cut = patches(image, 2 ** (level + 1), self.order)
            t = torch.cat((t, self._part(f"ipt_blk{level + 1}", cut)), dim=1)
            p = self._part(f"decoder_block{level}", t)
            if level == 1:
                break
            if sides:
                logits.append(self._part(f"conv_ms_spvn_{level}", p))
            gradient = self._part(f"gdt_convs_{level}", p)
            p = p * torch.sigmoid(self._part(f"gdt_convs_attn_{level}", gradient))
            skip = maps[level - 2]
            t = resize(p, skip) + self._part(f"lateral_block{level}", skip)
        return (self._answer(p, self._part("ipt_blk1", image)), *logits)

    def _answer(self, p: Tensor, cut: Tensor) -> Tensor:
        """Return the logit of p, enlarged, beside the whole patch: (N, 1, H, W).

        The last convolution is 1x1, which commutes with enlarging: so one channel is enlarged, not
        all of them, of which there are 400 MB at 1024 x 1024.
        """
        weight, bias = (self.get_parameter(f"conv_out1.0.{name}") for name in ("weight", "bias"))
        of_p, of_cut = weight[:, : p.shape[1]], weight[:, p.shape[1] :]
        return resize(F.conv2d(p, of_p), cut) + F.conv2d(cut, of_cut, bias)

    def _part(self, name: str, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(name)(x)
        return y


class BiRefNet(nn.Module):
    """BiRefNet with a Swin backbone. Height and width are multiples of 32.

    Args:
        size: Of the backbone.
        patch_order: Order of the channels that image patches make: "row" for weights trained with
            the authors' code since 2024-11-05, "column" for those before. Shapes are equal, so a
            wrong one shows only as a noisy mask.
    """

    def __init__(self, size: SwinSize, patch_order: PatchOrder = "row") -> None:
        super().__init__()
        self.bb = Swin(size)
        channels = [2 * size.channels << k for k in range(4)]
        self.squeeze_module = nn.Sequential(DecoderBlock(sum(channels), channels[3]))
        self.decoder = Decoder(channels, patch_order)

    def _encode(self, x: Tensor) -> list[Tensor]:
        """Return x_1 to x_4: maps of the image and of its half size, the last with all context."""
        H, W = x.shape[-2:]
        small = F.interpolate(x, size=(H // 2, W // 2), mode="bilinear", align_corners=True)
        pairs = zip(self.bb(x)[1:], self.bb(small)[1:], strict=True)
        maps = [torch.cat((large, resize(half, large)), dim=1) for large, half in pairs]
        context = [resize(each, maps[3]) for each in maps[:3]]
        maps[3] = self.squeeze_module(torch.cat((*context, maps[3]), dim=1))
        return maps

    def logits(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logit (N, 1, H, W) and the side logits of levels 4, 3 and 2."""
        return self.decoder(x, self._encode(x), True)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit (N, 1, H, W) of the saliency for a normalised batch (N, 3, H, W)."""
        logit: Tensor = self.decoder(x, self._encode(x), False)[0]
        return logit
