"""MobileSAM: masks for clicks and boxes, from an image that is encoded once.

Zhang et al., "Faster Segment Anything", arXiv 2306.14289; encoder: Wu et al., "TinyViT", ECCV 2022,
arXiv 2207.10666; prompts and masks: Kirillov et al., "Segment Anything", ICCV 2023, arXiv
2304.02643. Submodules are named as in the published state dict; the encoder's classifier
(`norm_head`, `head`) is left out. Shapes: N images, C channels, H x W pixels, h x w tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alphacut.models.nets.swin import windows
from alphacut.models.nets.vitmatte import ChannelNorm

WIDTH = 256  # channels of the embedding, and of tokens
FRAME_PX = 1024  # side of the square that the image is padded to
HEAD = 32  # channels of each attention head of the encoder


class ConvBN(nn.Module):
    """BN(conv(x)), of which a 3 x 3 keeps the size or halves it."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups,
            bias=False,
        )  # fmt: skip
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        y: Tensor = self.bn(self.c(x))
        return y


class Expanded(nn.Module):
    """Conv1x1, depth-wise Conv3x3, Conv1x1, with GELU between: inverted residual or merging."""

    def __init__(
        self, in_channels: int, middle: int, out_channels: int, stride: int, residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conv1 = ConvBN(in_channels, middle, 1)
        self.conv2 = ConvBN(middle, middle, 3, stride=stride, groups=middle)
        self.conv3 = ConvBN(middle, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order; a residual is added before its own GELU."""
        y = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + y) if self.residual else y


class WindowAttention(nn.Module):
    """Attention within windows, biased by the distance of rows and of columns."""

    index: Tensor

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.heads = channels // HEAD
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(self.heads, window**2))
        y, x = torch.arange(window**2) // window, torch.arange(window**2) % window
        index = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (N * windows, w * w, C) to same."""
        tokens = self.index.shape[0]
        qkv = self.qkv(self.norm(x)).reshape(-1, tokens, self.heads, 3, HEAD)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        logits = (q * HEAD**-0.5) @ k.transpose(-2, -1) + self.attention_biases[:, self.index]
        y = (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(-1, tokens, self.heads * HEAD)
        z: Tensor = self.proj(y)
        return z


class Mlp(nn.Module):
    """Layer norm, linear, GELU, linear."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order."""
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return y


class TinyViTBlock(nn.Module):
    """Window attention, a depth-wise convolution, an MLP: (N, C, h, w) to same."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(channels, window)
        self.local_conv = ConvBN(channels, channels, 3, groups=channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Update the map; padded tokens take part."""
        side, (channels, h, w) = self.window, x.shape[1:]
        y = F.pad(x, (0, -w % side, 0, -h % side)).permute(0, 2, 3, 1)
        y = self.attn(windows(y, side))
        rows, columns = (h + side - 1) // side, (w + side - 1) // side
        y = y.reshape(-1, rows, columns, side, side, channels).transpose(2, 3)
        y = y.reshape(-1, rows * side, columns * side, channels)[:, :h, :w].permute(0, 3, 1, 2)
        x = self.local_conv(x + y)
        z: Tensor = x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return z


class Layer(nn.Module):
    """Blocks of one resolution, and the merging after them, if any."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Apply them in order."""
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.downsample(x)
        return y


class TinyViT(nn.Module):
    """The image encoder: (N, 3, H, W) to (N, 256, H / 16, W / 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.seq = nn.Sequential(
            ConvBN(3, 32, 3, stride=2), nn.GELU(), ConvBN(32, 64, 3, stride=2)
        )
        convs: list[nn.Module] = [Expanded(64, 256, 64, 1, residual=True) for _ in range(2)]
        self.layers = nn.ModuleList([Layer(convs, Expanded(64, 128, 128, 2, residual=False))])
        # channels, blocks, window, channels after merging, its stride
        for channels, count, window, after, stride in (
            (128, 2, 7, 160, 2), (160, 6, 14, 320, 1), (320, 2, 7, 0, 1),
        ):  # fmt: skip
            blocks: list[nn.Module] = [TinyViTBlock(channels, window) for _ in range(count)]
            merge = Expanded(channels, after, after, stride, residual=False) if after else None
            self.layers.append(Layer(blocks, merge or nn.Identity()))
        self.neck = nn.Sequential(
            nn.Conv2d(320, WIDTH, 1, bias=False),
            ChannelNorm(WIDTH),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            ChannelNorm(WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding for an image (N, 3, H, W), normalised; sides are multiples of 16."""
        x = self.patch_embed.seq(x)  # type: ignore[operator]
        for layer in self.layers:
            x = layer(x)
        y: Tensor = self.neck(x)
        return y


class PositionCode(nn.Module):
    """Sines and cosines of random projections of places in 0..1: (..., 2) to (..., 256)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, WIDTH // 2))

    def forward(self, places: Tensor) -> Tensor:
        """Encode x, y."""
        z = 2 * math.pi * (2 * places - 1) @ self.positional_encoding_gaussian_matrix
        return torch.cat((z.sin(), z.cos()), dim=-1)


class PromptEncoder(nn.Module):
    """Points, a box and a mask to tokens and a map."""

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = PositionCode()
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, WIDTH) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, WIDTH)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2), ChannelNorm(4), nn.GELU(),
            nn.Conv2d(4, 16, 2, stride=2), ChannelNorm(16), nn.GELU(),
            nn.Conv2d(16, WIDTH, 1),
        )  # fmt: skip
        self.no_mask_embed = nn.Embedding(1, WIDTH)

    def forward(
        self,
        points: Tensor,
        labels: Tensor,
        box: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode one prompt.

        Args:
            points: (P, 2), x and y in pixels of the frame; P may be 0 beside a box.
            labels: (P,), 1 for foreground, 0 for background.
            box: (4,), x0, y0, x1, y1.
            mask: (1, 1, 256, 256), logits of an earlier answer.

        Returns:
            Tokens (1, T, 256), and a map (1, 256, 64, 64) or (1, 256, 1, 1).
        """
        ground, subject, first, second = (
            each.get_parameter("weight") for each in self.point_embeddings
        )
        tokens = [
            self.pe_layer((points + 0.5) / FRAME_PX)
            + torch.where(labels[:, None] > 0, subject, ground)
        ]
        if box is None:  # a token that stands for none
            tokens.append(self.not_a_point_embed.weight)
        else:
            corners = self.pe_layer((box.reshape(2, 2) + 0.5) / FRAME_PX)
            tokens.append(corners + torch.cat((first, second)))
        if mask is None:
            dense = self.no_mask_embed.weight.reshape(1, WIDTH, 1, 1)
        else:
            dense = self.mask_downscaling(mask)
        return torch.cat(tokens)[None], dense


class Attention(nn.Module):
    """Attention of 8 heads, between sets of tokens, within an inner width."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, inner)
        self.k_proj = nn.Linear(WIDTH, inner)
        self.v_proj = nn.Linear(WIDTH, inner)
        self.out_proj = nn.Linear(inner, WIDTH)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend: q (1, Q, 256), k and v (1, K, 256), to (1, Q, 256)."""
        pairs = ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        q, k, v = (
            proj(x).unflatten(-1, (8, -1)).transpose(1, 2) for proj, x in pairs
        )  # (1, 8, tokens, width)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        y: Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return y


class TwoWayBlock(nn.Module):
    """Tokens look at each other and at the image, then the image at the tokens."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(WIDTH)
        self.cross_attn_token_to_image = Attention(WIDTH // 2)
        self.cross_attn_image_to_token = Attention(WIDTH // 2)
        self.mlp = nn.Module()
        self.mlp.lin1, self.mlp.lin2 = nn.Linear(WIDTH, 2048), nn.Linear(2048, WIDTH)
        for k in range(1, 5):
            self.add_module(f"norm{k}", nn.LayerNorm(WIDTH))

    def forward(
        self, q: Tensor, image: Tensor, tokens: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the updated tokens q and image tokens.

        Args:
            q: (1, T, 256).
            image: (1, h * w, 256).
            tokens: The tokens as they came in, added to queries and keys.
            places: The image's position code, likewise.
        """
        norm1, norm2, norm3, norm4 = (self.get_submodule(f"norm{k}") for k in range(1, 5))
        if self.first:
            q = norm1(self.self_attn(q, q, q))
        else:
            q = norm1(q + self.self_attn(q + tokens, q + tokens, q))
        q = norm2(q + self.cross_attn_token_to_image(q + tokens, image + places, image))
        q = norm3(q + self.mlp.lin2(F.relu(self.mlp.lin1(q))))  # type: ignore[operator]
        image = norm4(image + self.cross_attn_image_to_token(image + places, q + tokens, q))
        return q, image


class Head(nn.Module):
    """Three linear layers with ReLU between."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, n) for n in (WIDTH, WIDTH, out))

    def forward(self, x: Tensor) -> Tensor:
        """Apply them."""
        first, second, third = self.layers
        y: Tensor = third(F.relu(second(F.relu(first(x)))))
        return y


class MaskDecoder(nn.Module):
    """Four masks and their scores for one prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(TwoWayBlock(k == 0) for k in range(2))
        self.transformer.final_attn_token_to_image = Attention(WIDTH // 2)
        self.transformer.norm_final_attn = nn.LayerNorm(WIDTH)
        self.iou_token = nn.Embedding(1, WIDTH)
        self.mask_tokens = nn.Embedding(4, WIDTH)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, WIDTH // 4, 2, stride=2), ChannelNorm(WIDTH // 4), nn.GELU(),
            nn.ConvTranspose2d(WIDTH // 4, WIDTH // 8, 2, stride=2), nn.GELU(),
        )  # fmt: skip
        self.output_hypernetworks_mlps = nn.ModuleList(Head(WIDTH // 8) for _ in range(4))
        self.iou_prediction_head = Head(4)

    def forward(
        self, embedding: Tensor, code: Tensor, prompt: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mask logits (1, 4, 4 h, 4 w) and scores (1, 4).

        Args:
            embedding: (1, 256, h, w).
            code: The position code of its pixels, (h * w, 256).
            prompt: Tokens (1, T, 256).
            dense: A map added to the embedding.
        """
        part = self.transformer
        tokens = torch.cat((self.iou_token.weight, self.mask_tokens.weight))[None]
        tokens = torch.cat((tokens, prompt), dim=1)
        q, image = tokens, (embedding + dense).flatten(2).transpose(1, 2)
        for block in part.layers:  # type: ignore[union-attr]
            q, image = block(q, image, tokens, code)
        q = q + part.final_attn_token_to_image(q + tokens, image + code, image)  # type: ignore[operator]
        q = part.norm_final_attn(q)  # type: ignore[operator]
        maps = self.output_upscaling(image.transpose(1, 2).reshape(embedding.shape))
        heads = enumerate(self.output_hypernetworks_mlps, start=1)
        weights = torch.stack([head(q[:, k]) for k, head in heads], dim=1)
        masks = torch.einsum("nkc,nchw->nkhw", weights, maps)
        return masks, self.iou_prediction_head(q[:, 0])


class MobileSAM(nn.Module):
    """MobileSAM. `forward` encodes an image; `answer` makes masks of its embedding and a prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = TinyViT()
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()

    def answer(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        box: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return mask logits (1, 4, 256, 256) and scores (1, 4).

        The first is for boxes and several points, the others are for one click: the best scored.

        Args:
            embedding: (1, 256, 64, 64), of `forward`.
            points: See `PromptEncoder`, and so on.
            labels: Of the points.
            box: A box, or None.
            mask: An earlier answer, or None.
        """
        h, w = embedding.shape[2:]
        y = ((torch.arange(h, device=embedding.device) + 0.5) / h)[:, None].expand(h, w)
        x = ((torch.arange(w, device=embedding.device) + 0.5) / w).expand(h, w)
        code = self.prompt_encoder.pe_layer(torch.stack((x, y), dim=-1).reshape(-1, 2))
        prompt, dense = self.prompt_encoder(points, labels, box, mask)
        answer: tuple[Tensor, Tensor] = self.mask_decoder(embedding, code, prompt, dense)
        return answer

    def forward(self, image: Tensor) -> Tensor:
        """Return the embedding (N, 256, H / 16, W / 16) of an image (N, 3, H, W), normalised."""
        embedding: Tensor = self.image_encoder(image)
        return embedding


class PromptedMasks(nn.Module):
    """The part that answers, as a graph: a prompt is points alone, as Segment Anything exports it.

    A box is two points, labelled 2 and 3; where there is no box, a point labelled -1 stands for it.
    """

    def __init__(self, network: MobileSAM) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = network.prompt_encoder, network.mask_decoder

    def forward(self, embedding: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mask logits (1, 4, 256, 256) and scores (1, 4).

        Args:
            embedding: (1, 256, 64, 64).
            points: (1, P, 2), x and y in pixels of the frame.
            labels: (1, P), what each is.
        """
        part = self.prompt_encoder
        kinds = [each.get_parameter("weight") for each in part.point_embeddings]
        code = part.pe_layer((points + 0.5) / FRAME_PX)
        of = labels[..., None]
        tokens = torch.where(of < 0, part.not_a_point_embed.weight.expand_as(code), code)
        for number, weight in enumerate(kinds):
            tokens = torch.where(of == number, code + weight, tokens)
        places = (torch.arange(FRAME_PX // 16) + 0.5) / (FRAME_PX // 16)
        y, x = torch.meshgrid(places, places, indexing="ij")
        grid = part.pe_layer(torch.stack((x, y), dim=-1).reshape(-1, 2))
        dense = part.no_mask_embed.weight.reshape(1, WIDTH, 1, 1)
        answer: tuple[Tensor, Tensor] = self.mask_decoder(embedding, grid, tokens, dense)
        return answer
