import dataclasses
from pathlib import Path

import cv2
import pytest
import torch
from click.testing import CliRunner

from alphacut import Remover
from alphacut.cli.main import cli
from alphacut.evaluation.patch_order import EXAMPLE
from alphacut.models import nets, weights
from alphacut.pipeline import transforms
from alphacut.pipeline.load import load_image

SIZE = (256, 256)


def fit_last_layer(order: str, path: Path) -> None:
    """Write random weights whose last layer finds the example's subject, in this order."""
    torch.manual_seed(0)
    network = nets.build("birefnet_lite", patch_order=order).eval()
    spec = dataclasses.replace(weights.find_model("birefnet-lite"), input_size=SIZE)
    image = load_image(EXAMPLE)
    batch = torch.from_numpy(transforms.preprocess(image, spec, None))
    seen: list[torch.Tensor] = []
    last = network.decoder.conv_out1[0]
    parts = ("decoder_block1", "ipt_blk1")
    hooks = [network.decoder.get_submodule(part).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)) for part in parts]  # fmt: skip
    with torch.no_grad():
        network(batch)
        for hook in hooks:
            hook.remove()
        maps = [torch.nn.functional.interpolate(each, SIZE, mode="bilinear", align_corners=True)
                for each in seen]  # fmt: skip
        features = torch.cat(maps, dim=1)[0].flatten(1).T.double()
        alpha = cv2.resize(Remover(matting="none")(EXAMPLE).alpha, SIZE)
        target = torch.from_numpy(alpha).flatten().double() * 12 - 6
        mean = features.mean(dim=0)
        centred = features - mean
        inner = centred.T @ centred
        solved = torch.linalg.solve(
            inner + 1e-6 * inner.trace() / len(inner) * torch.eye(len(inner)),
            centred.T @ (target - target.mean()),
        )
        last.weight.copy_(solved[None, :, None, None])
        last.bias.copy_((target.mean() - mean @ solved)[None])
    torch.save(network.state_dict(), path)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["row", "column"])
def test_weights_are_added_in_the_order_that_they_were_made_with(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHACUT_HOME", str(tmp_path / "home"))
    fit_last_layer(order, tmp_path / "mine.pth")
    monkeypatch.setattr("alphacut.evaluation.patch_order.SIZE", SIZE)
    words = [
        "models",
        "add",
        str(tmp_path / "mine.pth"),
        "--name",
        "mine",
        "--arch",
        "birefnet_lite",
    ]
    added = CliRunner().invoke(cli, words)
    assert added.exit_code == 0, added.output
    assert weights.find_model("mine").arch_options == {"patch_order": order}
    assert CliRunner().invoke(cli, ["models", "verify", "mine"]).exit_code == 0
    assert f"mine: its patches are in {order} order" in added.output
