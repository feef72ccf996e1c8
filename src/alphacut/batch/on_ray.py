"""Run tasks in Ray Data actors: tasks are sent to them and rows come back, never images."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

# Both are read when Ray is imported. Without the first it reports its use over the network.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # an actor that dies shows up in rows

from alphacut.batch.manifest import Row, to_table
from alphacut.batch.work import Work, Worker, to_tasks
from alphacut.errors import MissingExtra, RuntimeFailure
from alphacut.parallel import processors

try:
    import ray
    import ray.data
    import ray.exceptions
except ImportError as missing:
    raise MissingExtra("Ray", "cluster") from missing

BLOCK_TASKS = 32  # an actor that dies loses two blocks at most
ROUND_TASKS = 10_000  # per actor, before all of them are restarted
_LARGEST_ROUND = 1_000_000
TRIES = 3


class _Actor:
    """A worker that takes and returns tables."""

    def __init__(self, work: Work) -> None:
        import cv2

        cv2.setNumThreads(work.threads or 1)
        warnings.simplefilter("ignore")  # about empty and damaged images: their rows say it
        self._worker = Worker(work)

    def __call__(self, tasks: pa.Table) -> pa.Table:
        return to_table(self._worker(to_tasks(tasks)))


def run_tasks(
    work: Work,
    tables: Sequence[pa.Table],
    *,
    address: str | None,
    actors: int | None,
    gpus_per_actor: float,
) -> Iterator[Row]:
    """Run tasks in actors.

    An actor that dies is replaced. Its tasks are run again one by one, to single out an image that
    kills its process: after `TRIES` deaths it has failed.

    Args:
        work: What each actor needs to know.
        tables: The tasks.
        address: Address of a cluster; by default the one this process belongs to, or a new one on
            this machine.
        actors: Number of actors; one per processor, or per GPU, by default.
        gpus_per_actor: GPUs given to each.

    Yields:
        One row per task, in no order.

    Raises:
        RuntimeFailure: if the cluster cannot be reached or is lost, or its actors cannot start.
    """
    started = _connect(address)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        actors, cores = share(nodes, actors, gpus_per_actor)
        work = replace(work, cores=cores, threads=cores)
        table = pa.concat_tables(tables)
        size = min(_LARGEST_ROUND, ROUND_TASKS * actors)
        for start in range(0, len(table), size):
            yield from _round(work, table.slice(start, size), actors, cores, gpus_per_actor)
    except ray.exceptions.RayError as error:
        # Ray keeps what killed an actor as the text of a traceback, which ends in the error
        last = str(error).rstrip().rpartition("\n")[2].strip()
        raise RuntimeFailure(f"Ray failed: {last}") from error
    finally:
        if started:
            ray.shutdown()


def share(
    nodes: Sequence[Mapping[str, float]], actors: int | None, gpus_per_actor: float
) -> tuple[int, int]:
    """Return the number of actors, and how many processors each of them gets.

    An actor lives on one node: if it asked for more than the largest node has, it would wait for
    ever.

    Args:
        nodes: "CPU" and "GPU" of each.
        actors: How many are wanted; one per processor, or per GPU, by default.
        gpus_per_actor: GPUs given to each.

    Raises:
        RuntimeFailure: if no node has that many GPUs.
    """
    fit = [node for node in nodes if node.get("GPU", 0) >= gpus_per_actor]
    if not fit:
        raise RuntimeFailure(
            f"no Ray node has {gpus_per_actor:g} GPUs: add such a node, or lower --gpus-per-actor"
        )
    cores = [int(node.get("CPU", 0)) for node in fit]
    if actors is None:
        gpus = sum(int(node.get("GPU", 0) // gpus_per_actor) for node in fit if gpus_per_actor)
        actors = max(1, gpus or sum(cores))
    return actors, max(1, min(sum(cores) // actors, max(cores)))


def _round(work: Work, table: pa.Table, actors: int, cores: int, gpus: float) -> Iterator[Row]:
    """Run tasks without restarting the actors; those of dead actors again, one by one."""
    size = max(1, min(BLOCK_TASKS, len(table) // (4 * actors)))
    for _ in range(TRIES):
        answered: set[bytes] = set()
        for row in _stream(work, table, size, min(actors, len(table)), cores, gpus):
            if row.key not in answered:
                answered.add(row.key)
                yield row
        if len(answered) == len(table):
            return
        keys = table["key"].to_pylist()
        table = table.take([index for index, key in enumerate(keys) if key not in answered])
        size = 1
    for task in to_tasks(table):
        yield task.row(f"{task.input}: killed the process working on it {TRIES} times", again=True)


def _stream(
    work: Work, table: pa.Table, size: int, actors: int, cores: int, gpus: float
) -> Iterator[Row]:
    """Stream blocks of tasks through actors; rows of actors that die are missing."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    blocks = [table.slice(start, size) for start in range(0, len(table), size)]
    with warnings.catch_warnings():  # Ray warns about its own settings, and about max_task_retries
        warnings.simplefilter("ignore")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1
        rows = ray.data.from_arrow(blocks).map_batches(
            _Actor, fn_constructor_args=(work,), batch_size=size, batch_format="pyarrow",
            # one block waits beside the one in work, except where deaths are told apart
            compute=ray.data.ActorPoolStrategy(
                size=actors, max_tasks_in_flight_per_actor=2 if size > 1 else 1
            ),
            num_cpus=cores, num_gpus=gpus or None, max_restarts=-1, max_task_retries=0,
        )  # fmt: skip
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for values in batch.to_pylist():
            yield Row(**values)


def _connect(address: str | None) -> bool:
    """Connect to a cluster, or start one here; tell whether it was started."""
    if ray.is_initialized():
        return False
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        settings["address"] = address
    else:
        settings |= {"address": "local", "include_dashboard": False, "num_cpus": processors()}
    try:
        ray.init(**settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RuntimeFailure(f"Ray cannot be reached at {address or 'local'}: {error}") from error
    return not address
