"""U-2-Net and its lite form: keys, golden outputs, odd sizes, folded batch norm."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from alphacut.models import nets
from alphacut.models.nets import fold_batch_norm, u2net
from alphacut.models.nets.u2net import LITE, RSU, RSU4, RSU4F, U2Net
from pictures import SHARED


@pytest.fixture(scope="module", params=["u2net", "u2netp"])
def case(request, oracle, seeded):
    expected = oracle(request.param)
    network = seeded(nets.build(request.param))
    with torch.no_grad():
        maps = network.forward_all(expected.picture())
    return expected, network, {"d0": maps[0], "d3": maps[3], "d6": maps[6]}


@pytest.fixture(scope="module")
def lite(seeded):
    return seeded(U2Net(LITE))


def test_keys_are_the_published_ones(case):
    expected, network, _ = case
    expected.check_keys(network)


def test_outputs_are_those_of_the_authors(case):
    expected, _, outputs = case
    expected.check_samples(outputs)


def test_every_value_agrees(case):
    expected, network, outputs = case
    expected.check_whole(network, outputs)


@pytest.mark.parametrize(("arch", "parameters"), [("u2net", 44_009_869), ("u2netp", 1_131_181)])
def test_number_of_parameters(arch, parameters):
    assert sum(p.numel() for p in nets.build(arch).parameters()) == parameters


def test_forward_is_the_fused_saliency(lite):
    batch = torch.rand(2, 3, 40, 56)
    with torch.no_grad():
        saliency, maps, logits = lite(batch), lite.forward_all(batch), lite.logits(batch)
    assert saliency.shape == (2, 1, 40, 56)
    assert len(maps) == len(logits) == 7
    assert torch.equal(saliency, maps[0])
    assert torch.equal(torch.sigmoid(logits[4]), maps[4])


def test_odd_sizes_round_up(lite, oracle, monkeypatch):
    picture = oracle("u2netp").picture(97, 131)
    with torch.no_grad():
        saliency, features = lite(picture), lite.features(picture)
        assert saliency.shape == (1, 1, 97, 131)
        assert [g.shape[-2:] for g in features[:3]] == [(97, 131), (49, 66), (25, 33)]
        monkeypatch.setattr(u2net, "pool", lambda x: F.max_pool2d(x, 2))
        error = (lite(picture) - saliency).abs().max() / saliency.max()
    assert error == pytest.approx(0.56, abs=0.01)  # as in the authors' code


def test_blocks_keep_the_size_and_add_their_first_map():
    x = torch.rand(1, 3, 13, 9)
    for block in (RSU4(3, 2, 5), RSU(5, 3, 2, 5), RSU4F(3, 2, 5)):
        block.eval()
        torch.nn.init.zeros_(block.rebnconv1d.bn_s1.weight)
        with torch.no_grad():
            assert torch.equal(block(x), block.rebnconvin(x))
    dilations = [m.dilation[0] for m in RSU4(3, 2, 5).modules() if isinstance(m, torch.nn.Conv2d)]
    assert dilations == [1, 1, 1, 1, 2, 1, 1, 1]
    dilations = [m.dilation[0] for m in RSU4F(3, 2, 5).modules() if isinstance(m, torch.nn.Conv2d)]
    assert dilations == [1, 1, 2, 4, 8, 4, 2, 1]


@pytest.mark.slow
def test_gradients_reach_every_weight():
    network = U2Net(LITE)
    sum(logits.mean() for logits in network.logits(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_folding_changes_nothing_but_the_form(lite):
    folded = fold_batch_norm(lite)
    batch = torch.rand(1, 3, 64, 80)
    with torch.no_grad():
        torch.testing.assert_close(folded(batch), lite(batch), rtol=0, atol=1e-5)
    assert len(folded.state_dict()) == 238
    assert len(lite.state_dict()) == 798


def test_weights_of_an_onnx_file_go_in_by_order(lite):
    folded = fold_batch_norm(lite)
    as_exported = {
        key if key.startswith(("side", "outconv")) else f"onnx::Conv_{n}": t.half()
        for n, (key, t) in enumerate(folded.state_dict().items())
    }
    network = nets.load_onnx_weights("u2netp", as_exported)
    for key, t in network.state_dict().items():
        assert t.dtype == torch.float32
        assert torch.equal(t, folded.state_dict()[key].half().float())


def test_onnx_weights_that_do_not_fit_are_refused(lite):
    state = fold_batch_norm(lite).state_dict()
    first = next(iter(state))
    with pytest.raises(ValueError, match="237 tensors instead of 238"):
        nets.load_onnx_weights("u2netp", {k: t for k, t in state.items() if k != first})
    with pytest.raises(ValueError, match="has shape"):
        nets.load_onnx_weights("u2net", state)
    with pytest.raises(ValueError, match="of indexnet without names"):
        nets.load_onnx_weights("indexnet", state)


def published(file):
    """The graph of an ONNX file and the weights of its convolutions in the order of its nodes."""
    path = SHARED / "models" / file
    if not path.is_file():
        pytest.skip(f"no {file} in the folder shared/models beside the checkout")
    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    used = [name for node in graph.node if node.op_type == "Conv" for name in node.input[1:]]
    return path, graph, {name: torch.from_numpy(arrays[name].copy()) for name in used}


@pytest.mark.slow
def test_published_lite_weights_give_the_published_saliency():
    path, graph, weights = published("u2netp.onnx")
    network = nets.load_onnx_weights("u2netp", weights)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 320)] * 2, indexing="ij")
    disc = (x**2 + y**2 < 0.3).float().expand(1, 3, 320, 320) - 0.5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output = session.run([graph.output[0].name], {graph.input[0].name: disc.numpy()})[0]
    with torch.no_grad():
        saliency = network(disc)
    assert saliency.max() > 0.9
    assert saliency.min() < 0.1
    torch.testing.assert_close(saliency, torch.from_numpy(output), rtol=0, atol=1e-3)


def test_published_isnet_weights_go_where_the_names_of_the_nodes_say():
    _, graph, weights = published("isnet-general-use-fp16.onnx")
    state = nets.load_onnx_weights("isnet", weights).state_dict()
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    assert len(nodes) == 119
    for node in nodes:  # such as /stage1/rebnconvin/conv_s1/Conv
        child = ".".join(node.name.split("/")[1:-1])
        for name, kind in zip(node.input[1:], ("weight", "bias"), strict=True):
            assert torch.equal(state[f"{child}.{kind}"], weights[name].float())
