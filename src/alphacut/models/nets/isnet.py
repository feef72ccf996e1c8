"""IS-Net: dichotomous segmentation at 1024 x 1024; RMBG-1.4 and ormbg have the same graph.

Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022, arXiv 2203.03041.
Submodules are named as in the published state dict.
"""

from __future__ import annotations

from torch import Tensor, nn

from alphacut.models.nets.u2net import FULL, RSU7, NestedUNet


class ISNet(NestedUNet):
    """U-2-Net's stages after a convolution of stride 2, without a fused output.

    `forward_all` returns the saliency maps d_1 to d_6, each (N, 1, H, W); `forward` returns d_1.
    """

    def __init__(self) -> None:
        super().__init__(FULL | {"stage1": (RSU7, 64, 32, 64)})
        self.conv_in = nn.Conv2d(3, 64, 3, stride=2, padding=1)

    def features(self, x: Tensor, finest: int = 1) -> tuple[Tensor, ...]:
        """Return decoder maps g_1 to g_6 for x (N, 3, H, W); g_k has 1 / 2^k of its size."""
        return super().features(self.conv_in(x), finest)
