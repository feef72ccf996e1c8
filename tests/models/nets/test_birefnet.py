"""BiRefNet: keys, golden outputs in both orders of patches, sizes, deformable convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from alphacut.models import nets
from alphacut.models.nets.birefnet import BiRefNet, DeformableConv, deform_conv, patches
from alphacut.models.nets.swin import LARGE, TINY, shift_mask

LEVELS = ("out", "m4", "m3", "m2")


def outputs(network: BiRefNet, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the oracles hold, in both orders of patches."""
    found = {}
    with torch.no_grad():
        for order, suffix, count in (("row", "", 4), ("column", "_column", 2)):
            network.decoder.order = order
            logit, *sides = network.logits(picture)
            both = zip(LEVELS[:count], (torch.sigmoid(logit), *sides), strict=False)
            found |= {name + suffix: each for name, each in both}
        maps = network.bb(picture)
    return found | {"e1": maps[1][:, ::32], "e4": maps[4][:, ::32]}


@pytest.fixture(scope="module")
def lite(seeded):
    return seeded(nets.build("birefnet_lite"))


@pytest.fixture(scope="module")
def lite_outputs(lite, oracle):
    return outputs(lite, oracle("birefnet_lite").picture())


def test_keys_are_the_published_ones(lite, oracle):
    oracle("birefnet_lite").check_keys(lite)


@pytest.mark.slow
def test_outputs_are_those_of_the_authors(lite_outputs, oracle):
    oracle("birefnet_lite").check_samples(lite_outputs)


@pytest.mark.slow
def test_every_value_agrees(lite, lite_outputs, oracle):
    oracle("birefnet_lite").check_whole(lite, lite_outputs)


@pytest.mark.slow
def test_every_value_of_the_large_one_agrees(seeded, oracle):
    network = seeded(nets.build("birefnet"))
    found = outputs(network, oracle("birefnet").picture())
    oracle("birefnet").check_keys(network)
    oracle("birefnet").check_samples(found)
    oracle("birefnet").check_whole(network, found)


def test_the_sizes_of_the_two():
    assert (TINY.window, LARGE.window) == (7, 12)
    with torch.device("meta"):
        lite, large = nets.build("birefnet_lite"), nets.build("birefnet")
    # less the predictions of the gradient, which only training uses
    assert sum(p.numel() for p in lite.parameters()) == 44_313_720 - 3 * 17
    assert sum(p.numel() for p in large.parameters()) == 220_176_498 - 3 * 17


def test_published_checkpoints_are_read():
    network = nets.build("birefnet_lite", patch_order="column")
    state = {f"module._orig_mod.{key}": t for key, t in network.state_dict().items()}
    state["module._orig_mod.decoder.gdt_convs_pred_2.0.bias"] = torch.zeros(1)
    index = "bb.layers.0.blocks.0.attn.relative_position_index"
    state[f"module._orig_mod.{index}"] = torch.zeros(49, 49)
    again = nets.load_state("birefnet_lite", state, patch_order="column")
    assert again.decoder.order == "column"
    assert torch.equal(again.bb.patch_embed.proj.weight, network.bb.patch_embed.proj.weight)
    with pytest.raises(ValueError, match=r"not the weights of birefnet_lite: .*ipt_blk5"):
        nets.load_state("birefnet_lite", {k: t for k, t in state.items() if "ipt_blk5" not in k})


def test_patches_are_adjacent_crops():
    image = torch.arange(3 * 4 * 6).reshape(1, 3, 4, 6)
    for order, at in (("row", (1 * 2 + 1) * 2 + 0), ("column", 3 * (0 * 2 + 1) + 1)):
        cut = patches(image, 2, order)
        assert cut.shape == (1, 12, 2, 3)
        # green, second row of crops, first column
        assert torch.equal(cut[0, at], image[0, 1, 2:, :3])
    assert patches(image, 1, "row") is image


@pytest.mark.parametrize("kernel", [1, 3])
def test_deformable_convolution_is_that_of_its_definition(kernel):
    """By hand, in double precision, at offsets that leave the map."""
    rng = np.random.default_rng(kernel)
    h, w, taps = 4, 5, kernel * kernel
    x, weight = rng.normal(size=(2, h, w)), rng.normal(size=(3, 2, kernel, kernel))
    offset, mask = 2 * rng.normal(size=(2 * taps, h, w)), rng.random((taps, h, w))
    bias = rng.normal(size=3)
    expected = np.tile(bias[:, None, None], (1, h, w))
    for i, j, t in np.ndindex(h, w, taps):
        y = i - kernel // 2 + t // kernel + offset[2 * t, i, j]
        z = j - kernel // 2 + t % kernel + offset[2 * t + 1, i, j]
        seen = np.zeros(2)
        for yy in (int(np.floor(y)), int(np.floor(y)) + 1):
            for zz in (int(np.floor(z)), int(np.floor(z)) + 1):
                if 0 <= yy < h and 0 <= zz < w:
                    seen += x[:, yy, zz] * (1 - abs(y - yy)) * (1 - abs(z - zz))
        expected[:, i, j] += weight[:, :, t // kernel, t % kernel] @ seen * mask[t, i, j]
    given = (torch.from_numpy(a)[None].float() for a in (x, offset, mask))
    x_, offset_, mask_ = given
    found = deform_conv(
        x_, torch.from_numpy(weight).float(), offset_, torch.from_numpy(bias).float(), mask_
    )
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


def test_folded_deformable_convolution_keeps_its_output():
    torch.manual_seed(0)
    block = nn.Sequential(DeformableConv(4, 8, 3), nn.BatchNorm2d(8)).eval()
    nn.init.uniform_(block[1].running_var, 0.5, 2)
    nn.init.normal_(block[1].running_mean)
    nn.init.normal_(block[1].bias)
    folded = nets.fold_batch_norm(block)
    assert isinstance(folded[1], nn.Identity)
    x = torch.rand(1, 4, 7, 9)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), block(x))


def test_shifted_windows_hide_what_was_not_adjacent():
    mask = shift_mask(torch.zeros(1, 5, 9, 1), 4)  # padded to 8 x 12: 6 windows
    assert mask.shape == (6, 16, 16)
    assert mask[0].abs().max() == 0  # one part
    last = mask[5].reshape(4, 4, 4, 4)
    assert last[0, 0, 1, 1] == 0
    assert last[0, 0, 2, 0] == last[0, 0, 0, 2] == -100


@pytest.mark.slow
def test_it_learns():
    torch.manual_seed(0)
    network = nets.build("birefnet_lite").train()
    logits = network.logits(torch.rand(2, 3, 64, 32))
    assert logits[0].shape == (2, 1, 64, 32)
    sum(each.mean() for each in logits).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []
