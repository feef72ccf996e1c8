"""The training loop: one plain function, and what it keeps and measures."""

import contextlib
import copy
import csv
import dataclasses
import math
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from alphacut import files
from alphacut.errors import MissingExtra, RuntimeFailure, TrainingError
from alphacut.evaluation import metrics
from alphacut.runtimes.pytorch import devices
from alphacut.training import losses
from alphacut.training.data import Batches, Pictures
from alphacut.training.network import (
    AllOutputs,
    find_gradients,
    keep_statistics,
    precision,
    prepare,
    save_weights,
    start_network,
    update_average,
)
from alphacut.training.recipe import Recipe, Source
from alphacut.training.schedules import make_schedule

LAST, BEST, LOG, BAD_BATCH = "last.pt", "best.safetensors", "log.csv", "bad-batch.pt"
COLUMNS = ("step", "loss", "rate", "norm", "MAD", "Grad", "RMSE", "IoU")
LOG_EVERY = 10


@dataclass(frozen=True)
class Record:
    """What a run tells of itself every few steps.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        values: Figures by `COLUMNS`; those of the pictures in `valid` only where they were looked
            at: MAD x 1000, Grad and IoU of the first output of the averaged weights at the batch's
            size, RMSE the mean over all outputs and pictures.
        seconds_left: About how long the rest takes.
    """

    step: int
    steps: int
    values: Mapping[str, float]
    seconds_left: float


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    workers: int = 0,
    threads: int | None = None,
    steps: int | None = None,
    tensorboard: bool = False,
) -> Iterator[Record]:
    """Train a network by a recipe, and yield a record every few steps.

    Under `torchrun` each process takes its share of every batch, on a GPU of its own if there are.
    Ctrl-C ends the run after the step, and saves.

    Args:
        recipe: Every setting.
        data: The folder that the recipe's paths are below.
        out: Folder of the run: `last.pt` to go on from, `best.safetensors`, `log.csv`, `events`
            for TensorBoard.
        resume: Whether to go on from `last.pt`. The numbers are those of an unbroken run.
        device: "auto", "cpu" or "cuda".
        workers: Processes that make pictures; 0 for this one.
        threads: Processors that the network may use; as PyTorch has it by default.
        steps: Stop after this step, though the recipe goes on.
        tensorboard: Whether to write for TensorBoard, too.

    Raises:
        TrainingError: if data, checkpoint or recipe do not fit, or the loss is not a number.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    if threads:
        torch.set_num_threads(threads)
    rank, processes = _join(device)
    chosen = choose_device(device)
    if recipe.batch % processes:
        raise TrainingError(f"batch = {recipe.batch}: has to divide among {processes} processes")
    torch.manual_seed(recipe.seed)
    network = start_network(recipe)
    teacher = None
    if any(source.kind == "unlabelled" for source in recipe.source):
        teacher = copy.deepcopy(network).eval().requires_grad_(False).to(chosen)
    model, optimizer = prepare(network, recipe, chosen)
    schedule = make_schedule(optimizer, recipe.rate, recipe.steps)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    amp, scaler = precision(recipe, chosen)
    step, best = 0, math.inf
    if resume:
        state = _read_checkpoint(out / LAST, recipe, chosen)
        step, best, average = state["step"], state["best"], state["average"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        scaler.load_state_dict(state["scaler"])
    elif (out / LAST).exists():
        raise TrainingError(
            f"{out / LAST}: is already there: --resume goes on, or choose another -o"
        )
    if processes > 1:
        model = nn.parallel.DistributedDataParallel(
            model, device_ids=[chosen.index] if chosen.type == "cuda" else None
        )
    last = min(recipe.steps, steps or recipe.steps)
    pictures = Pictures(recipe, recipe.source, data)
    batches = Batches(step, last, recipe.batch, rank, processes)
    judge = Judge(recipe, recipe.valid, data, chosen) if rank == 0 else None
    log = _Log(out, step, tensorboard) if rank == 0 else None

    def save() -> None:
        state = {
            "network": network.state_dict(), "average": average, "step": step, "best": best,
            "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
            "scaler": scaler.state_dict(), "recipe": _settings(recipe),
        }  # fmt: skip
        if rank == 0:
            with files.replacing(out / LAST, make_folder=True) as part:
                torch.save(state, part)

    began, first = time.monotonic(), step
    with _stop_request() as stopped, log or contextlib.nullcontext():
        for batch in load_batches(pictures, batches, workers, chosen):
            torch.manual_seed(recipe.seed + step)  # of dropout, so that a resumed run is exact
            model.train()
            if step >= recipe.freeze_batch_norm * recipe.steps:
                keep_statistics(network)
            batch = to_device(batch, chosen)
            if teacher:
                batch = _teach(teacher, batch)
            loss, terms = find_gradients(model, batch, recipe.loss, optimizer, amp, scaler)
            scaler.unscale_(optimizer)
            norm = float(nn.utils.clip_grad_norm_(network.parameters(), recipe.clip or math.inf))
            # a scaled gradient of float16 may overflow; its step is then left out
            finite = bool(torch.isfinite(loss)) and (scaler.is_enabled() or math.isfinite(norm))
            if not _agreed(finite, all, processes, chosen):
                bad = out / (f"{rank}-{BAD_BATCH}" if processes > 1 else BAD_BATCH)
                with files.replacing(bad, make_folder=True) as part:
                    torch.save(batch, part)
                raise TrainingError(
                    f"step {step}: loss {loss.item()}, norm of the gradient {norm:.3g}: the "
                    f"batch is in {bad}; lower the rate, or look at the pictures"
                )
            scaler.step(optimizer)
            scaler.update()
            rate = optimizer.param_groups[0]["lr"]
            schedule.step()
            step += 1
            update_average(average, network, recipe.ema, step)

            values = {"loss": loss.item(), "rate": rate, "norm": norm, **terms}
            looked = step % recipe.valid_every == 0 or step == last
            if looked and judge:
                found = judge(average)
                values |= found
                if found[recipe.best_by] < best:
                    best = found[recipe.best_by]
                    save_weights(out / BEST, average)
            stopping = _agreed(stopped.is_set(), any, processes, chosen)
            if step % recipe.save_every == 0 or step == last or stopping:
                save()
            if log and (looked or step % LOG_EVERY == 0):
                log.write(step, values)
                left = (time.monotonic() - began) / (step - first) * (last - step)
                yield Record(step, recipe.steps, values, left)
            if stopping:
                raise KeyboardInterrupt


class Judge:
    """Measures weights on the pictures that are held out.

    Args:
        recipe: The recipe.
        sources: Where the pictures come from.
        data: Folder of the data.
        device: Where the network runs, in float32.
    """

    def __init__(
        self, recipe: Recipe, sources: tuple[Source, ...], data: Path, device: torch.device
    ) -> None:
        self._device = device
        self._network = AllOutputs(start_network(recipe)).to(device).eval()
        fixed = dataclasses.replace(recipe, seed=recipe.seed + 1, size=recipe.size[:1])
        # made anew at each look: thousands of them would fill the memory
        self._pictures, self._count = Pictures(fixed, sources, data), recipe.valid_pictures

    def __call__(self, state: Mapping[str, Tensor]) -> dict[str, float]:
        """Return MAD x 1000, Grad, RMSE and IoU of the weights; see `Record`."""
        self._network.network.load_state_dict(state)
        found: dict[str, list[float]] = {name: [] for name in ("MAD", "Grad", "RMSE", "IoU")}
        for picture in map(self._pictures.__getitem__, range(self._count)):
            with torch.inference_mode():
                image = torch.from_numpy(picture["image"])[None].to(self._device)
                alphas = [alpha.cpu() for alpha in self._network(image)[0]]
            true = torch.from_numpy(picture["alpha"])[None]
            pred, truth = alphas[0][0, 0].clamp(0, 1).numpy(), true[0, 0].numpy()
            loss_weight = picture["loss_weight"][0] > 0
            found["MAD"].append(
                1000 * metrics.mad(pred, truth, loss_weight if loss_weight.any() else None)
            )
            found["Grad"].append(metrics.grad(pred, truth, loss_weight))
            found["IoU"].append(metrics.iou(pred, truth))
            found["RMSE"].append(
                float(np.mean([float(losses.rmse(alpha, true)) for alpha in alphas]))
            )
        return {name: float(np.mean(values)) for name, values in found.items()}


def _teach(teacher: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill in alpha where it is not known: the mean answer to a picture and its mirror image."""
    unknown = ~batch["known"]
    if unknown.any():
        with torch.inference_mode():
            images = batch["image"][unknown]
            answer = (teacher(images) + teacher(images.flip(-1)).flip(-1)) / 2
        batch["alpha"] = batch["alpha"].clone()
        batch["alpha"][unknown] = answer.float().clamp(0, 1)
    return batch


# --- machine ---


def _join(device: str) -> tuple[int, int]:
    """Join the other processes that torchrun has started; return rank and count."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and not torch.distributed.is_initialized():
        cuda = device != "cpu" and torch.cuda.is_available()
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    return int(os.environ.get("RANK", "0")), processes


def choose_device(device: str) -> torch.device:
    """Return a device of PyTorch; under torchrun each process has a GPU of its own.

    Raises:
        RuntimeFailure: if it is not there.
    """
    present = devices()
    if device == "auto":
        device = "cuda" if "cuda" in present else "cpu"
    if device not in ("cpu", "cuda") or device not in present:
        raise RuntimeFailure(f"training finds no {device} here: choose --device cpu or cuda")
    if device == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _agreed(mine: bool, how: Any, processes: int, device: torch.device) -> bool:
    """Return whether all or any of the processes say yes."""
    if processes == 1:
        return mine
    votes = torch.tensor([int(mine)], device=device)
    torch.distributed.all_reduce(votes)
    return bool(votes.item() == processes if how is all else votes.item())


@contextlib.contextmanager
def _stop_request() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or a polite kill sets; the second one ends at once, as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, _: Any) -> None:
        stopped.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, request)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def load_batches(
    pictures: Pictures, batches: Batches, workers: int, device: torch.device
) -> "DataLoader[dict[str, Tensor]]":
    """Return a loader that makes pictures in so many processes of its own, or in this one."""
    return DataLoader(
        pictures,  # type: ignore[arg-type]  # it needs numbers and a length, which it has
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        multiprocessing_context="spawn" if workers else None,
    )


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Move a batch of the loader."""
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
    return batch


# --- files of a run ---


def _read_checkpoint(path: Path, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path}: cannot be gone on from: {error}") from error
    before, now = state["recipe"], _settings(recipe)
    if other := [name for name in now if before.get(name) != now[name]]:
        raise TrainingError(f"{path}: is of another recipe, which differs in {', '.join(other)}")
    return state


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Return what a run that is continued must agree on."""
    settings = dataclasses.asdict(recipe)
    del settings["about"]
    return settings


class _Log:
    """The CSV of a run, and its events for TensorBoard."""

    def __init__(self, out: Path, step: int, tensorboard: bool) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path, self._events = out / LOG, None
        rows = []
        if step and self._path.exists():  # what came after the checkpoint is done again
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingExtra("tensorboard", "train") from error
            self._events = SummaryWriter(out / "events", purge_step=step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS, extrasaction="ignore").writerow({"step": step, **values})
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        if self._events:
            self._events.close()
