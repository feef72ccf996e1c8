"""The training loop: one plain function, and what it keeps and measures."""

import contextlib
import copy
import csv
import dataclasses
import math
import os
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
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
from alphacut.output.encode import save_image
from alphacut.runtimes.pytorch import devices
from alphacut.training import curves, losses
from alphacut.training.curves import COLUMNS, LOG
from alphacut.training.data import Batches, Pictures
from alphacut.training.network import (
    AllOutputs,
    find_gradients,
    keep_statistics,
    memory_format,
    precision,
    prepare,
    save_weights,
    start_network,
    update_average,
)
from alphacut.training.preview import draw_sheet
from alphacut.training.recipe import Recipe, Source
from alphacut.training.schedules import make_schedule
from alphacut.training.steps import Array, Pixels

LAST, BEST, BAD_BATCH = "last.pt", "best.safetensors", "bad-batch.pt"
LOG_EVERY = 10


@dataclass(frozen=True)
class Record:
    """What a run tells of itself every few steps.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        epoch: Epochs done; None where the recipe counts steps.
        values: Figures by `curves.COLUMNS`; those of the pictures in `valid` only where they were
            looked at: MAD x 1000, Grad and IoU of the first output of the averaged weights at the
            batch's size, RMSE the mean over all outputs and pictures.
        seconds_left: About how long the rest takes.
    """

    step: int
    steps: int
    epoch: float | None
    values: Mapping[str, float]
    seconds_left: float


@dataclass(frozen=True)
class Pace:
    """When what is due, in steps; see `Recipe`.

    Attributes:
        epoch: Steps of an epoch; 0 where the recipe counts steps.
    """

    steps: int
    epoch: int
    valid_every: int
    save_every: int
    keep_every: int

    def count(self, step: int) -> float | None:
        """Return the epochs that a step ends, if they are counted."""
        return step / self.epoch if self.epoch else None

    def name(self, step: int) -> str:
        """Return what files of a step are called."""
        return f"epoch-{step / self.epoch:g}" if self.epoch else f"step-{step}"


def make_pace(recipe: Recipe, photographs: int | None) -> Pace:
    """Turn a recipe's epochs into steps; the last step of an epoch may begin the next one.

    Args:
        recipe: The recipe.
        photographs: How many it trains on; None if it makes them.

    Raises:
        TrainingError: if it counts epochs of pictures that have no end.
    """
    every = recipe.valid_every, recipe.save_every, recipe.keep_every
    if not recipe.epochs:
        return Pace(recipe.steps, 0, *map(int, every))
    if photographs is None or len(recipe.source) > 1:
        raise TrainingError("epochs: need one source, of pairs or taught: give steps instead")
    epoch = math.ceil(photographs / recipe.batch)
    return Pace(recipe.epochs * epoch, epoch, *(math.ceil(part * epoch) for part in every))


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
    heard: Callable[[], object] | None = None,
) -> Iterator[Record]:
    """Train a network by a recipe, and yield a record every few steps.

    Under `torchrun` each process takes its share of every batch, on a GPU of its own if there are.
    Ctrl-C and SIGTERM end the run after the step, or amid the held-out pictures, and save.

    Args:
        recipe: Every setting.
        data: The folder that the recipe's paths are below.
        out: Folder of the run: `last.pt` to go on from, and those of `keep_every`;
            `best.safetensors`; `log.csv`, drawn in `curves.png` at the end; held-out pictures with
            what the network says; `events` for TensorBoard.
        resume: Whether to go on from `last.pt`. The numbers are those of an unbroken run.
        device: "auto", "cpu" or "cuda".
        workers: Processes that make pictures; 0 for this one.
        threads: Processors that the network may use; as PyTorch has it by default.
        steps: Stop after this step, though the recipe goes on.
        tensorboard: Whether to write for TensorBoard, too.
        heard: Called at once when a signal asks for the end.

    Raises:
        MissingExtra: if Matplotlib is not installed.
        TrainingError: if data, checkpoint or recipe do not fit, or the loss is not a number.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    if threads:
        torch.set_num_threads(threads)
    rank, processes = _join(device)
    chosen = choose_device(device)
    if recipe.batch % processes:
        raise TrainingError(f"batch = {recipe.batch}: has to divide among {processes} processes")
    curves.new_figure()  # if it is missing, that is said now, and not at the end
    pictures = Pictures(recipe, recipe.source, data)
    pace = make_pace(recipe, pictures.photographs)
    torch.manual_seed(recipe.seed)
    network = start_network(recipe)
    teacher = None
    if any(source.kind == "unlabelled" for source in recipe.source):
        teacher = AllOutputs(copy.deepcopy(network)).eval().requires_grad_(False).to(chosen)
    model, optimizer = prepare(network, recipe, chosen)
    schedule = make_schedule(optimizer, recipe.rate, pace.steps)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    amp, scaler = precision(recipe, chosen)
    layout = memory_format(recipe, chosen)
    step, best = 0, math.inf
    owed: dict[str, float] | None = None  # figures of a step whose look at `valid` is not done
    if resume:
        state = _read_checkpoint(out / LAST, recipe, pace, chosen)
        step, best, average = state["step"], state["best"], state["average"]
        owed = state["owed"]
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
            model,
            device_ids=[chosen.index] if chosen.type == "cuda" else None,
            find_unused_parameters=recipe.loss.first > 0,  # of outputs that are not calculated
        )
    last = min(pace.steps, steps or pace.steps)
    batches = Batches(step, last, recipe.batch, rank, processes)
    judge = Judge(recipe, recipe.valid, data, chosen) if rank == 0 else None
    log = _Log(out, step - (owed is not None), tensorboard) if rank == 0 else None

    def save(owed: dict[str, float] | None) -> None:
        state = {
            "network": network.state_dict(), "average": average, "step": step, "best": best,
            "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
            "scaler": scaler.state_dict(), "recipe": _settings(recipe),
            "pace": dataclasses.asdict(pace), "owed": owed,
        }  # fmt: skip
        if rank == 0:
            with files.replacing(out / LAST, make_folder=True) as part:
                torch.save(state, part)
            if pace.keep_every and step % pace.keep_every == 0:
                _keep(out, pace, step, recipe.keep)

    def look(values: dict[str, float]) -> bool:
        """Add to the values those of `valid`; return whether no signal has prevented that."""
        nonlocal best
        if not judge:
            return True
        found = judge(average, stopped)
        if found is None:
            return False
        values |= found
        if recipe.draw:
            save_image(out / f"{pace.name(step)}.jpg", judge.draw())
        if found[recipe.best_by] < best:
            best = found[recipe.best_by]
            save_weights(out / BEST, average)
        return True

    def report(values: dict[str, float]) -> Record:
        left = (time.monotonic() - began) / max(step - first, 1) * (last - step)
        return Record(step, pace.steps, pace.count(step), values, left)

    began, first = time.monotonic(), step
    with _stop_request(heard) as stopped, log or contextlib.nullcontext():
        if owed is not None:
            looked = look(owed)
            if log and looked:
                log.write(step, pace.count(step), owed)
                yield report(owed)
            if _agreed(not looked, any, processes, chosen):
                raise KeyboardInterrupt
            save(None)
        for batch in load_batches(pictures, batches, workers, chosen):
            if threads:  # PyMatting's compiler turns all of OpenMP up to every core
                torch.set_num_threads(threads)
            torch.manual_seed(recipe.seed + step)  # of dropout, so that a resumed run is exact
            model.train()
            if step >= recipe.freeze_batch_norm * pace.steps:
                keep_statistics(network)
            batch = to_device(batch, chosen, layout)
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
            due = step % pace.valid_every == 0 or step == last
            if saved := due or step % pace.save_every == 0:
                save(values if due else None)
            looked = due and look(values)
            stopping = _agreed(stopped.is_set(), any, processes, chosen)
            if (looked and (stopping or step == last)) or (stopping and not saved):
                save(None)
            if log and (looked or (not due and step % LOG_EVERY == 0)):
                log.write(step, pace.count(step), values)
            if log and (due or step % LOG_EVERY == 0):
                yield report(values)
            if stopping:
                raise KeyboardInterrupt
    if log and step == pace.steps:
        curves.save(out)


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
        self._pictures, self._recipe = Pictures(fixed, sources, data), fixed
        self._count = min(
            recipe.valid_pictures, self._pictures.photographs or recipe.valid_pictures
        )
        self._answers: list[Array] = []

    def __call__(
        self, state: Mapping[str, Tensor], stopped: threading.Event
    ) -> dict[str, float] | None:
        """Return MAD x 1000, Grad, RMSE and IoU of the weights; see `Record`.

        Args:
            state: The weights.
            stopped: Where it is set before the end, the answer is None.
        """
        self._network.network.load_state_dict(state)
        self._answers = []
        found: dict[str, list[float]] = {name: [] for name in ("MAD", "Grad", "RMSE", "IoU")}
        for picture in map(self._pictures.__getitem__, range(self._count)):
            if stopped.is_set():
                return None
            with torch.inference_mode():
                image = torch.from_numpy(picture["image"])[None].to(self._device)
                alphas = [alpha.cpu() for alpha in self._network(image)[0]]
            true = torch.from_numpy(picture["alpha"])[None]
            pred, truth = alphas[0][0, 0].clamp(0, 1).numpy(), true[0, 0].numpy()
            if len(self._answers) < self._recipe.draw:
                self._answers.append(pred)
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

    def draw(self) -> Pixels:
        """Draw the first pictures, with their alpha and what the network said last."""
        return draw_sheet(self._recipe, self._pictures, len(self._answers), self._answers)


def _teach(teacher: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fill in alpha where it is not known: the mean answer to a picture and its mirror image."""
    unknown = ~batch["known"]
    if unknown.any():
        with torch.inference_mode():
            images = batch["image"][unknown]
            (alpha, *_), (mirrored, *_) = teacher(images)[0], teacher(images.flip(-1))[0]
            answer = (alpha + mirrored.flip(-1)) / 2
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
def _stop_request(heard: Callable[[], object] | None) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or a polite kill sets; the second one ends at once, as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, _: Any) -> None:
        stopped.set()
        if heard:
            heard()
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


def to_device(
    batch: dict[str, Tensor], device: torch.device, layout: torch.memory_format
) -> dict[str, Tensor]:
    """Move a batch of the loader, its pixels ordered as the network's weights are."""
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    batch["image"] = batch["image"].contiguous(memory_format=layout)
    return batch


# --- files of a run ---


def _keep(out: Path, pace: Pace, step: int, count: int) -> None:
    """Copy the last checkpoint under the name of its step, and delete all but the last of those."""
    with files.replacing(out / f"{pace.name(step)}.pt") as part:
        shutil.copyfile(out / LAST, part)
    if count:
        before = range(step - count * pace.keep_every, 0, -pace.keep_every)
        for old in before:
            (out / f"{pace.name(old)}.pt").unlink(missing_ok=True)


def _read_checkpoint(
    path: Path, recipe: Recipe, pace: Pace, device: torch.device
) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path}: cannot be gone on from: {error}") from error
    before, now = state["recipe"], _settings(recipe)
    if other := [name for name in now if before.get(name) != now[name]]:
        raise TrainingError(f"{path}: is of another recipe, which differs in {', '.join(other)}")
    if state["pace"] != dataclasses.asdict(pace):
        raise TrainingError(
            f"{path}: an epoch was {state['pace']['epoch']} steps then and is {pace.epoch} now, "
            "since the number of photographs has changed"
        )
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

    def write(self, step: int, epoch: float | None, values: Mapping[str, float]) -> None:
        row = {"step": step, "epoch": epoch, **values}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS, extrasaction="ignore").writerow(row)
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        if self._events:
            self._events.close()
