"""The network in training: what it starts from, what of it learns, and in which precision."""

import functools
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from alphacut import files
from alphacut.errors import TrainingError
from alphacut.models import nets, weights
from alphacut.models.nets.alphacut_lite import AlphacutLite
from alphacut.models.nets.u2net import NestedUNet
from alphacut.runtimes import needed
from alphacut.runtimes.pytorch import load_network
from alphacut.training import losses
from alphacut.training.recipe import Encoder, Loss, Recipe, find_entry


class AllOutputs(nn.Module):
    """A network that answers with every output, as alpha and as logits where it has some.

    Those are what its method `logits` or `alphas` returns; without either, its answer is alpha.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, first: int = 0) -> tuple[list[Tensor], list[Tensor]]:
        """Alphas and logits, each (N, 1, H, W) float32, of a batch; no logits of an alpha.

        Args:
            x: The batch.
            first: How many outputs to leave out, from the best one on; U-2-Net and IS-Net save
                their time.
        """
        network, size = self.network, x.shape[-2:]
        if find_logits := getattr(network, "logits", None):
            nested = isinstance(network, NestedUNet)
            outputs = find_logits(x, first) if nested else find_logits(x)[first:]
            logits = [_enlarge(output.float(), size) for output in outputs]
            return [torch.sigmoid(output) for output in logits], logits
        find_alphas = getattr(network, "alphas", None)
        alphas = find_alphas(x) if find_alphas else [network(x)]
        return [_enlarge(alpha.float(), size) for alpha in alphas[first:]], []


def _enlarge(output: Tensor, size: torch.Size) -> Tensor:
    """Resize the output of a coarse level to the batch's size."""
    if output.shape[-2:] == size:
        return output
    return nn.functional.interpolate(output, size, mode="bilinear", align_corners=False)


def start_network(recipe: Recipe) -> nn.Module:
    """Return the network a recipe starts from, on the CPU, in training mode.

    Raises:
        WeightsError: if its weights are not here or do not fit.
        TrainingError: if those of the encoder are not, the network cannot be trained, or a size is
            none of its own.
    """
    spec = find_entry(recipe)
    arch = str(spec.arch)
    if odd := [side for side in recipe.size if side % spec.multiple]:
        raise TrainingError(f"size = {odd[0]}: {spec.name} needs multiples of {spec.multiple}")
    if recipe.start == "random":
        network = nets.build(arch, **spec.arch_options)
        if recipe.encoder:
            _fill_encoder(network, recipe.encoder)
        if isinstance(network, AlphacutLite):
            lite = weights.find_model("u2net-lite")
            first = load_network(str(lite.arch), weights.fetch(lite, "onnx"))
            network.first.load_state_dict(first.state_dict())
        return network
    if recipe.start != "model":
        return load_network(arch, Path(recipe.start), spec.arch_options).train()
    return load_network(arch, weights.fetch(spec, needed(spec, "torch")), spec.arch_options).train()


def _fill_encoder(network: nn.Module, source: Encoder) -> None:
    path = Path(source.file)
    if not path.is_file():
        raise TrainingError(f"encoder: there is no {path}: the recipe says where it comes from")
    if (found := files.sha256(path)) != source.sha256:
        raise TrainingError(f"{path}: has the checksum {found}, not the recipe's")
    encoder = network.get_submodule("encoder")
    published = torch.load(path, map_location="cpu", weights_only=True)
    if missing := sorted(encoder.state_dict().keys() - published.keys()):
        raise TrainingError(f"{path}: is not the encoder's: it has no {missing[0]}")
    encoder.load_state_dict({name: published[name] for name in encoder.state_dict()})


def prepare(
    network: nn.Module, recipe: Recipe, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Make a network ready for training: frozen, protected and moved as the recipe says.

    Returns:
        The network within `AllOutputs`, and its optimiser.

    Raises:
        TrainingError: if `freeze` fits no parameter or leaves none, or a module is not there.
    """
    for pattern in recipe.freeze:
        found = [p for name, p in network.named_parameters() if fnmatch(name, pattern)]
        if not found:
            raise TrainingError(f"freeze: no parameter is like {pattern!r}")
        for parameter in found:
            parameter.requires_grad_(False)
    for name in recipe.full_precision:
        try:
            _calculate_in_float32(network.get_submodule(name))
        except AttributeError as error:
            raise TrainingError(f"full_precision: no module is called {name!r}") from error
    model = AllOutputs(network).to(device)
    model = model.to(memory_format=memory_format(recipe, device))  # type: ignore[call-overload]
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        raise TrainingError("freeze: leaves nothing to train")
    if recipe.optimizer == "adam":
        return model, torch.optim.Adam(trained, lr=recipe.rate.peak)
    decay = recipe.weight_decay
    return model, torch.optim.AdamW(trained, lr=recipe.rate.peak, weight_decay=decay)


def update_average(average: dict[str, Tensor], network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's; sooner in the first steps."""
    keep = min(decay, step / (step + 10))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, 1 - keep)
            else:
                average[name].copy_(tensor)


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors, whole or not at all."""
    with files.replacing(path, make_folder=True) as part:
        save_file({name: t.detach().cpu().contiguous() for name, t in state.items()}, part)


def keep_statistics(network: nn.Module) -> None:
    """Let batch norm use what it has found so far, and learn no more of it."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _calculate_in_float32(module: nn.Module) -> None:
    """Take a module out of mixed precision: some convolutions cancel large numbers."""

    def forward(plain: Any, *inputs: Tensor) -> Any:
        with torch.autocast(inputs[0].device.type, enabled=False):
            return plain(*(x.float() for x in inputs))

    module.forward = functools.partial(forward, module.forward)


def precision(recipe: Recipe, device: torch.device) -> tuple[Any, torch.amp.GradScaler]:
    """Return where to calculate in mixed precision, and the scaler of float16's gradients."""
    cuda = device.type == "cuda"
    on = recipe.amp == "bf16" or (recipe.amp == "auto" and cuda)
    half = recipe.amp == "auto" and cuda and not torch.cuda.is_bf16_supported()
    kind = torch.float16 if half else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=on and half)
    return torch.autocast(device.type, kind, enabled=on), scaler


def memory_format(recipe: Recipe, device: torch.device) -> torch.memory_format:
    """Return the order of a batch's pixels and of the weights that is quicker there.

    In float32, oneDNN takes 3 times as long for gradients of weights if channels come last (AVX2).
    """
    plain = device.type == "cpu" and recipe.amp != "bf16"
    return torch.contiguous_format if plain else torch.channels_last


def find_gradients(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    settings: Loss,
    optimizer: torch.optim.Optimizer,
    amp: Any,
    scaler: torch.amp.GradScaler,
) -> tuple[Tensor, dict[str, float]]:
    """Set the gradients, scaled, of a batch; return its loss and terms, see `losses.total`."""
    with amp:
        alphas, logits = model(batch["image"], settings.first)
    loss, terms = losses.total(alphas, logits, batch, settings)
    optimizer.zero_grad()
    torch.autograd.backward(scaler.scale(loss))
    return loss, terms
