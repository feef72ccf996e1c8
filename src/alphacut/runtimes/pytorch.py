"""PyTorch: runs the networks of `nets` directly, without a graph in between."""

import collections
import os
import pickle
import time
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import MissingExtra, RuntimeFailure, UnknownName, WeightsError

try:
    import torch
except ImportError as missing:
    raise MissingExtra("PyTorch", "torch") from missing

from alphacut.models import nets
from alphacut.runtimes.fork import one_thread

if hasattr(os, "register_at_fork"):  # OpenMP's threads stay behind in the parent
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

DEVICES = ("auto", "cpu", "gpu", "cuda", "mps")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime:
    """A network run by PyTorch.

    Args:
        network: The network; it is moved to the device.
        device: "auto", "cpu", "gpu", "cuda" or "mps"; auto takes the first of CUDA, MPS and CPU
            that is present.
        precision: "fp32", or on CUDA "fp16" or "bf16". They are faster, but edge pixels differ
            from float32.
        threads: Number of processors that all PyTorch networks of the process share; PyTorch's
            default if None.

    Raises:
        UnknownName: if there is no such device.
        RuntimeFailure: if the device is absent, or cannot compute in that precision.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        device: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        if device not in DEVICES:
            raise UnknownName("device of PyTorch", device, DEVICES)
        present = devices()
        wanted = {"auto": ("cuda", "mps", "cpu"), "gpu": ("cuda", "mps")}.get(device, (device,))
        found = next((name for name in wanted if name in present), None)
        if found is None:
            raise RuntimeFailure(
                f"PyTorch {torch.__version__} finds no {device} here, only {', '.join(present)}: "
                "install a build and driver for it, or choose another --device"
            )
        if precision != "fp32" and found != "cuda":
            raise RuntimeFailure(
                f"PyTorch computes in {precision} on CUDA only, not on {found}: choose --precision "
                "fp32 or --device cuda"
            )
        self.device, self.prefers_batches = found, found != "cpu"
        if threads is not None and not one_thread():
            torch.set_num_threads(threads)
        self._dtype = _DTYPES[precision]
        # convolutions on CUDA are faster with channels last; elsewhere there is no gain
        self._layout = torch.channels_last if found == "cuda" else torch.contiguous_format
        self._network = network.eval().to(found, self._dtype)
        self._network.to(memory_format=self._layout)  # type: ignore[call-overload]

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's first output for a batch.

        Args:
            batch: (N, C, h, w) float32.

        Returns:
            (N, K, h', w') float32.

        Raises:
            RuntimeFailure: if PyTorch fails, for instance out of memory.
        """
        try:
            with torch.inference_mode():
                tensor = torch.from_numpy(np.ascontiguousarray(batch))
                output = self._network(self._place(tensor))
                # always a copy: on the CPU, numpy() shares the tensor's memory
                return np.array(output.float().cpu().numpy())
        except RuntimeError as error:
            raise RuntimeFailure(f"PyTorch failed on {self.device}: {error}") from error

    def share_of_peak(self, batch: NDArray[np.float32], call_s: float) -> float:
        """Return the share of the device's peak arithmetic rate that a call reaches.

        The peak is the rate of a large matrix product, measured on the spot in the same precision.

        Args:
            batch: (N, C, h, w) float32.
            call_s: Seconds that a call with this batch takes.
        """
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with torch.inference_mode(), counter:
            self._network(self._place(torch.from_numpy(batch[:1])))
        side = 4096 if self.device == "cuda" else 1024
        matrix = torch.rand(side, side, device=self.device, dtype=self._dtype)

        def multiply(times: int) -> float:
            start = time.perf_counter()
            product = matrix
            for _ in range(times):
                product = matrix @ matrix
            product[0, 0].item()  # waits for the device
            return time.perf_counter() - start

        multiply(1)
        peak_flops = 8 * 2 * side**3 / multiply(8)
        return float(len(batch) * counter.get_total_flops() / call_s / peak_flops)

    def _place(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to(self.device, self._dtype, memory_format=self._layout)


class TorchDecoder:
    """The part of a network that answers prompts, run by PyTorch where its weights are."""

    def __init__(self, network: torch.nn.Module) -> None:
        from alphacut.models.nets.mobile_sam import MobileSAM, PromptedMasks

        assert isinstance(network, MobileSAM)
        self._answer = PromptedMasks(network).eval()

    def __call__(
        self, embedding: NDArray[np.float32], points: NDArray[np.float32],
        labels: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
        """Answer a prompt; see `prompted.PromptedRuntime.answer`."""
        like = next(self._answer.parameters())
        given = (torch.from_numpy(each).to(like) for each in (
            embedding, points[np.newaxis], labels[np.newaxis]))  # fmt: skip
        try:
            with torch.inference_mode():
                masks, scores = self._answer(*given)
        except RuntimeError as error:
            raise RuntimeFailure(f"PyTorch failed: {error}") from error
        return masks[0].float().cpu().numpy(), scores[0].float().cpu().numpy()


def load_network(
    arch: str, path: Path, options: Mapping[str, Any] = MappingProxyType({})
) -> torch.nn.Module:
    """Return a network with the weights of a file: a checkpoint, safetensors or ONNX.

    Only tensors are read: a file that would run code on loading is refused.

    Args:
        arch: Network in `nets`.
        path: A .safetensors or .onnx file; any other suffix means a checkpoint of PyTorch's,
            as `nets.load_state` takes it.
        options: Further arguments of the network, as in a model's entry.

    Raises:
        WeightsError: if the file is damaged, unsafe, or of another network.
    """
    try:
        if path.suffix == ".onnx":
            from alphacut.runtimes.openvino import read_convolutions

            arrays = read_convolutions(path)
            tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            return nets.load_onnx_weights(arch, tensors, **options)
        return nets.load_state(arch, _read(path), **options)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: damaged, or holds more than tensors, which could run code on loading: save "
            "only the state dict"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError,
            TypeError) as error:  # fmt: skip
        raise WeightsError(f"{path}: cannot be read as weights of {arch}: {error}") from error


def devices() -> list[str]:
    """Return the devices of this machine that PyTorch can use, by alphacut's names."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError as error:
            raise MissingExtra("safetensors", "torch") from error
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(error) from error
    with warnings.catch_warnings():  # about how the file was written
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # also of a whole optimiser beside the weights
            module = types.SimpleNamespace(
                __name__="pickle", Unpickler=_TensorUnpickler, load=_load_pickle
            )
            return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)


class _Ignored:
    """Stands in for what is read but not wanted: called, filled or built, it does nothing."""

    def __new__(cls, *_: Any) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


class _TensorUnpickler(pickle.Unpickler):
    """Reads tensors, and ignores the optimiser and the schedule beside them.

    `torch.load(weights_only=True)` refuses checkpoints in which an old OneCycleLR has left a method
    of itself, and with it the whole optimiser. Nothing that a file names is called but the two
    functions that put tensors together.
    """

    def find_class(self, module: str, name: str) -> Any:
        known = f"{module}.{name}"
        if known == "collections.OrderedDict":
            return collections.OrderedDict
        if known in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"):
            rebuild = getattr(torch._utils, name)
            return lambda *parts: rebuild(*parts)  # a file may alter what it is given
        if module.startswith("torch.optim.") or known in _BESIDE:
            return _Ignored
        raise pickle.UnpicklingError(f"names {known}")


def _load_pickle(file: Any, **options: Any) -> Any:
    """Read one of the pickles in a row that a file of PyTorch before 1.6 is."""
    return _TensorUnpickler(file, **options).load()


_BESIDE = ("__builtin__.getattr", "builtins.getattr", "__builtin__.dict", "builtins.dict",
           "collections.defaultdict")  # fmt: skip
