"""PyTorch: runs the networks of `nets` themselves, without a graph in between."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphacut.errors import MissingExtra, RuntimeFailure, UnknownName, WeightsError

try:
    import torch
except ImportError as missing:
    raise MissingExtra("PyTorch", "torch") from missing

from alphacut import nets

DEVICES = ("auto", "cpu", "gpu", "cuda", "mps")


class TorchRuntime:
    """A network run by PyTorch.

    Args:
        network: The network; it is moved to the device.
        device: "auto", "cpu", "gpu", "cuda" or "mps"; auto takes the first of CUDA, MPS and CPU
            that is there.
        half: Whether to calculate in float16, on CUDA only. It is quicker, and pixels on edges
            differ from float32.
        threads: How many processors it may use, all PyTorch networks of the process together;
            as PyTorch has it by default.

    Raises:
        UnknownName: if there is no device of that name.
        RuntimeFailure: if the device is not there, or cannot calculate in float16.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        device: str = "auto",
        half: bool = False,
        threads: int | None = None,
    ) -> None:
        if device not in DEVICES:
            raise UnknownName("device of PyTorch", device, DEVICES)
        present = devices()
        wanted = {"auto": ("cuda", "mps", "cpu"), "gpu": ("cuda", "mps")}.get(device, (device,))
        found = next((word for word in wanted if word in present), None)
        if found is None:
            raise RuntimeFailure(
                f"PyTorch {torch.__version__} finds no {device} here, only {', '.join(present)}: "
                "install a build and a driver for it, or choose another --device"
            )
        if half and found != "cuda":
            raise RuntimeFailure(
                f"PyTorch calculates in half precision on CUDA only, not on {found}: leave --half "
                "out, or choose --device cuda"
            )
        self.device = found
        if threads is not None:
            torch.set_num_threads(threads)
        self._dtype = torch.float16 if half else torch.float32
        self._network = network.eval().to(found, self._dtype)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for a batch.

        Args:
            batch: (N, C, h, w) float32.

        Returns:
            (N, K, h', w') float32.

        Raises:
            RuntimeFailure: if PyTorch fails, for instance for want of memory.
        """
        try:
            with torch.inference_mode():
                tensor = torch.from_numpy(np.ascontiguousarray(batch))
                output = self._network(tensor.to(self.device, self._dtype))
                # a copy in any case: on the CPU, numpy() would share the tensor's memory
                return np.array(output.float().cpu().numpy())
        except RuntimeError as error:
            raise RuntimeFailure(f"PyTorch failed on {self.device}: {error}") from error


def load_network(arch: str, path: Path) -> torch.nn.Module:
    """Return a network with the weights of a file: a state dict, safetensors, or ONNX.

    Only tensors are read; a file that would run code when it is loaded is refused.

    Args:
        arch: Network in `nets`.
        path: .safetensors, .onnx, or anything else for a state dict written by PyTorch.

    Raises:
        WeightsError: if the file is damaged, unsafe, or not of that network.
    """
    try:
        if path.suffix == ".onnx":
            from alphacut.runtimes.openvino import read_convolutions

            arrays = read_convolutions(path)
            return nets.load_onnx_weights(
                arch, {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            )
        return nets.load_state(arch, _read(path))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: is refused: it holds more than tensors, or is damaged. Only weights are "
            "read, since anything else could run code: save the state dict alone"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: cannot be read as weights of {arch}: {error}") from error


def devices() -> list[str]:
    """Return the devices of this machine, in alphacut's words."""
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
        return torch.load(path, map_location="cpu", weights_only=True)
