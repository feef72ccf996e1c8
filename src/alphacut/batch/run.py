"""Run a job's plan, or a sample of it to estimate what the whole will take."""

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from alphacut.batch.job import Job, Plan
from alphacut.batch.lock import Claim
from alphacut.batch.manifest import Row, Writer
from alphacut.batch.store import Store
from alphacut.batch.work import Worker
from alphacut.errors import StoreError

SAMPLE = 24


def run(job: Job, plan: Plan, claim: Claim) -> Iterator[Row]:
    """Do what a plan says, and write the manifest on the way.

    Args:
        job: What was asked for.
        plan: What is left to do.
        claim: The destination's lock; see `lock.claimed`.

    Yields:
        A row for each input that was neither done nor given up before, in no order.

    Raises:
        StoreError: if the manifest cannot be written, or another run has taken over.
        AlphacutError: if the model cannot be loaded.
    """
    writer = Writer(Store(job.dest))
    try:
        for row in itertools.chain(plan.failed, _rows(job, plan)):
            if claim.lost:
                raise StoreError(
                    f"{job.dest}: another run took over while this one seemed dead: stopping"
                )
            writer.add(row)
            yield row
    finally:
        writer.flush()


def _rows(job: Job, plan: Plan) -> Iterable[Row]:
    """Do the tasks, in this process or on Ray."""
    if not plan.pending:
        return ()
    if job.engine == "ray":
        from alphacut.batch import on_ray

        return on_ray.run_tasks(
            plan.work, plan.tables, address=job.address, actors=job.actors,
            gpus_per_actor=job.gpus_per_actor,
        )  # fmt: skip
    return Worker(plan.work)(plan.tasks())


@dataclass(frozen=True)
class Estimate:
    """What a job will take, extrapolated from a sample.

    Attributes:
        pending: How many images are left to do.
        sampled: How many were tried.
        failed: How many of those failed.
        core_seconds: Processor time per image, summed over all cores.
        seconds: Elapsed time per image on this machine.
        input_bytes: Mean length of an input.
        output_bytes: Mean length of a result.
    """

    pending: int
    sampled: int
    failed: int
    core_seconds: float
    seconds: float
    input_bytes: float
    output_bytes: float


def estimate(plan: Plan, sample: int = SAMPLE) -> Estimate:
    """Cut out an evenly spaced sample of a plan on this machine, writing nothing.

    Args:
        plan: What is left to do.
        sample: How many images to try.
    """
    chosen = set(np.linspace(0, plan.pending - 1, min(sample, plan.pending)).astype(int).tolist())
    tasks = [task for index, task in enumerate(plan.tasks()) if index in chosen]
    if not tasks:
        return Estimate(0, 0, 0, 0.0, 0.0, 0.0, 0.0)
    worker = Worker(dataclasses.replace(plan.work, dry=True))
    list(worker(tasks[:1]))  # the first call allocates
    start, used = time.perf_counter(), time.process_time()
    rows = list(worker(tasks))
    used, seconds = time.process_time() - used, time.perf_counter() - start
    n = len(rows)
    return Estimate(
        plan.pending, n, sum(row.status != "done" for row in rows), used / n, seconds / n,
        sum(row.input_bytes for row in rows) / n, sum(row.output_bytes for row in rows) / n,
    )  # fmt: skip
