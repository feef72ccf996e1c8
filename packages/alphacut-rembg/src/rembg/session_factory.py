"""`new_session`: rembg's names of models, and the remover of each."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alphacut
from alphacut import files, runtimes, values
from alphacut.errors import UnknownName, WeightsError
from alphacut.models import weights
from alphacut.models.entry import ModelSpec
from alphacut.options import OptionChanges, Options
from alphacut.runtimes import Runtime

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT = "u2netp"  # rembg's own, bria-rmbg, is not for commercial use and not a model here
# rembg's networks for a user's own weights, and the models that these are fed like
CUSTOM = {"u2net_custom": "u2net", "dis_custom": "isnet", "ben_custom": "ben2"}
NAMES = ("u2netp", "u2net", "u2net_human_seg", "silueta", "isnet-general-use", "isnet-anime",
         "birefnet-general", "birefnet-general-lite", "birefnet-portrait", "sam",
         *CUSTOM)  # fmt: skip
# rembg's networks that another one stands for: MobileSAM was taught by the one that is meant
_STAND_INS = {"sam": "mobile-sam"}
_ABSENT = {
    "bria-rmbg": "its weights are not for commercial use",
    "withoutbg": "it sends pictures to a paid service",
    "atlascloud": "it sends pictures to a paid service",
}


class Session:
    """A loaded model.

    Attributes:
        model_name: What rembg calls it.
        remover: What cuts out.
    """

    def __init__(self, model_name: str, remover: "alphacut.Remover") -> None:
        self.model_name = model_name
        self.remover = remover

    @functools.cached_property
    def vitmatte(self) -> "alphacut.Remover":
        """The same model, with ViTMatte for its edges."""
        options = self.remover.options.replace(matting="vitmatte")
        return alphacut.Remover(self.remover.spec, network=self.remover.network, options=options)

    def predict(self, img: "Image", *args: Any, **kwargs: Any) -> "list[Image]":
        """Return the masks of an image, of which there is one."""
        changes = self.read_prompt(kwargs.get("sam_prompt"))
        changes["result"] = "mask"
        return [self.remover(img, **changes).image]

    def read_prompt(self, prompt: Any) -> OptionChanges:
        """Read `sam_prompt` as changes of options; a network for prompts is asked for the middle.

        Raises:
            OptionError: if it is malformed.
        """
        points, box = values.read_prompt(prompt)
        if not (points or box or self.remover.spec.finds_subjects):
            points = "50% 50%"
        return {"points": points, "box": box}


def new_session(
    model_name: str = DEFAULT,
    *args: Any,
    sess_opts: Any = None,
    providers: list[Any] | None = None,
    model_path: str | None = None,
    accept_license: bool = False,
    **kwargs: Any,
) -> Session:
    """Load a model.

    Args:
        model_name: Its name, rembg's or alphacut's.
        *args: Ignored, as by rembg.
        sess_opts: ONNX Runtime's options, of which the number of threads is read.
        providers: ONNX Runtime's providers, of which the first decides the device.
        model_path: Weights of one's own, for the models that end in _custom.
        accept_license: Whether the terms of weights that restrict their use are accepted.
        **kwargs: Ignored, as by rembg.

    Raises:
        ValueError: if there is no such model, or a provider is unknown.
        AlphacutError: if the weights are missing, or the device is.
    """
    spec, options, load = plan(
        model_name, sess_opts=sess_opts, providers=providers, model_path=model_path,
        accept_license=accept_license,
    )  # fmt: skip
    return Session(model_name, alphacut.Remover(spec, network=load(), options=options))


def plan(
    model_name: str,
    *,
    sess_opts: Any = None,
    providers: list[Any] | None = None,
    model_path: str | None = None,
    accept_license: bool = False,
) -> tuple[ModelSpec, Options, Callable[[], Runtime]]:
    """Return a model's entry, the options of its remover, and what loads its network.

    The arguments are those of `new_session`, and so are the errors.
    """
    spec = find_model(model_name)
    options = Options(
        model=spec.name if model_name not in CUSTOM else Options.model,
        # rembg's masks, its 8 bits, and nobody's address
        matting="none", keep_depth=False, metadata="none",
        **({} if spec.output == "masks" else _device(providers)),  # rembg's own sam ignores them
    )  # fmt: skip
    path = Path(model_path).expanduser() if model_path else find_weights(model_name, spec)
    if model_name in CUSTOM and model_path is None:
        raise ValueError("model_path is required")
    if path is not None and not path.is_file():
        raise WeightsError(f"{path}: no such weights")
    return spec, options, functools.partial(
        runtimes.load, spec, runtime=options.runtime, device=options.device,
        precision="fp32" if path else options.precision, path=path,
        threads=getattr(sess_opts, "intra_op_num_threads", 0) or _environment_threads(),
        accept_license=accept_license,
    )  # fmt: skip


def find_model(name: str) -> ModelSpec:
    """Return a model's entry, changed to feed the network as rembg does: its masks are the same.

    Raises:
        ValueError: if there is no such model.
    """
    if name in _ABSENT:
        raise ValueError(f"{name} is no model of alphacut: {_ABSENT[name]}: choose another, such "
                         f"as {DEFAULT}")  # fmt: skip
    try:
        spec = weights.find_model((CUSTOM | _STAND_INS).get(name, name))
    except UnknownName as error:
        raise ValueError(f"No session class found for model '{name}'; there are "
                         f"{', '.join(NAMES)}") from error  # fmt: skip
    return dataclasses.replace(spec, downscale="lanczos", divisor="max")


def find_weights(name: str, spec: ModelSpec) -> Path | None:
    """Return the file that rembg has downloaded, if alphacut lacks it and it is the right one."""
    wanted = spec.weights.get("onnx")
    if wanted is None or wanted.sha256 is None or wanted.embedded or weights.locate(wanted):
        return None
    data = os.environ.get("XDG_DATA_HOME")
    legacy = os.environ.get("U2NET_HOME") or os.path.join(data or "~", ".u2net")
    home = os.environ.get("U2NET_HOME") or os.environ.get("REMBG_HOME")
    home = home or (os.path.join(data, "rembg") if data else "~/.rembg")
    for folder in (Path(home, "models", name), Path(legacy)):
        path = folder.expanduser() / f"{name}.onnx"
        if path.is_file() and files.sha256(path) == wanted.sha256:
            return path
    return None


def _device(providers: list[Any] | None) -> dict[str, Any]:
    """Return the options that mean ONNX Runtime's first provider."""
    if not providers:
        return {}
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    known: dict[str, dict[str, Any]] = {
        "CPUExecutionProvider": {"device": "cpu"},
        "OpenVINOExecutionProvider": {},
        "CUDAExecutionProvider": {"runtime": "onnx", "device": "cuda"},
    }
    if first not in known:
        raise ValueError(f"provider {first!r} is not supported: choose one of {', '.join(known)}")
    return known[first]


def _environment_threads() -> int | None:
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() and int(text) > 0 else None
