"""Measure the service under load: many clients at once, for a limited time, on the loopback.

    python benchmarks/load.py --clients 64 --seconds 60 --picture examples/astronaut.png

One run on one machine measures the pipeline in process, the service under load and, with --peer,
another server of rembg's /api/remove, such as `rembg s`. To reach: at least 90 % of the pipeline's
throughput in process, no status but 200 and 429, the 99th percentile within the time limit, and
memory that grows by no more than 5 % after the first minute.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

START_S = 60.0


def in_process(pictures: list[bytes], seconds: float, threads: int) -> float:
    """Return images per second of the pipeline without a service: read, cut out, encode."""
    from alphacut import Options, Remover

    options = Options(format="png")
    remover = Remover(options=options, hint="throughput")
    remover(pictures[0]).encode(options)
    start, done = time.perf_counter(), 0

    def until_the_end() -> Iterator[bytes]:
        while time.perf_counter() < start + seconds:
            yield pictures[done % len(pictures)]

    # as a user would: cut out by `map`, encode the results meanwhile
    with ThreadPoolExecutor(threads) as encoders:
        encoding = deque[Future[Any]]()
        for cutout in remover.map(until_the_end(), threads=threads):
            encoding.append(encoders.submit(cutout.encode, options))
            if len(encoding) > 2 * threads:
                encoding.popleft().result()
            done += 1
    return done / (time.perf_counter() - start)


async def load(address: str, pictures: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """Run clients, each of which sends its next request as soon as it has its answer."""
    took: list[float] = []
    statuses: Counter[str] = Counter()
    end = time.perf_counter() + seconds

    async def one_client(number: int, client: httpx.AsyncClient) -> None:
        asked = number
        while time.perf_counter() < end:
            picture = pictures[asked % len(pictures)]
            asked += 1
            start = time.perf_counter()
            try:
                answer = await client.post(
                    address, data={"model": "u2netp"}, files={"file": ("picture", picture)}
                )
            except httpx.HTTPError as error:
                statuses[type(error).__name__] += 1
                continue
            statuses[str(answer.status_code)] += 1
            if answer.status_code == 200:
                took.append(time.perf_counter() - start)
            elif answer.status_code == 429:
                await asyncio.sleep(min(5, float(answer.headers.get("Retry-After", "1"))))

    start = time.perf_counter()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(one_client(number, client) for number in range(clients)))
    elapsed = time.perf_counter() - start
    took.sort()
    return {
        "per_second": round(len(took) / elapsed, 2),
        "statuses": dict(statuses),
        "p50_s": round(took[len(took) // 2], 3) if took else None,
        "p99_s": round(took[int(len(took) * 0.99)], 3) if took else None,
    }


def memory_of(pid: int) -> int:
    """Return the proportional set size of a process and its descendants, in bytes (Linux)."""
    pids, total = [pid], 0
    while pids:
        one = pids.pop()
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.M)
        except OSError:  # it has ended
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


async def watched(pid: int, work: Any) -> tuple[Any, list[tuple[float, int]]]:
    """Await work, and note the memory of a process every second."""
    start, notes = time.perf_counter(), []
    job = asyncio.ensure_future(work)
    while not job.done():
        notes.append((time.perf_counter() - start, await asyncio.to_thread(memory_of, pid)))
        await asyncio.wait({job}, timeout=1)
    return await job, notes


def start_service(workers: int) -> tuple[subprocess.Popen[bytes], str]:
    """Start the service on a free port and wait until it is ready."""
    command = [sys.executable, "-m", "alphacut", "serve", "--port", "0", "--log", "json"]
    if workers:
        command += ["--workers", str(workers)]
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(command, stderr=log)
        end = time.monotonic() + START_S
        while time.monotonic() < end and process.poll() is None:
            lines = Path(log.name).read_text()
            if found := re.search(r'"address": "(.*?)".*"ready: ', lines, re.S):
                return process, found[1]
            time.sleep(0.1)
    process.kill()
    raise SystemExit("the service did not start")


def main() -> None:
    """Measure, and print one line of JSON per subject."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=0, help="0 for one per processor")
    parser.add_argument("--picture", type=Path, action="append", help="repeat for several")
    parser.add_argument("--peer", help="URL of another server's /api/remove to measure as well")
    chosen = parser.parse_args()
    examples = Path(__file__).parents[1] / "examples"
    paths = chosen.picture or [examples / "astronaut.png"]
    pictures = [path.read_bytes() for path in paths]

    from alphacut.parallel import processors

    threads = processors()  # as many as the service takes workers
    half_s = min(60, chosen.seconds) / 2
    before = in_process(pictures, half_s, threads)
    process, address = start_service(chosen.workers)
    try:
        work = load(f"{address}/api/remove", pictures, chosen.clients, chosen.seconds)
        result, notes = asyncio.run(watched(process.pid, work))
    finally:
        process.terminate()
        process.wait(timeout=60)
    # half before and half after: the speed of a shared machine varies
    baseline = (before + in_process(pictures, half_s, threads)) / 2
    print(json.dumps({"subject": "in process", "per_second": round(baseline, 2)}), flush=True)
    early = [held for after_s, held in notes if after_s >= min(60, chosen.seconds / 2)][:1]
    growth = notes[-1][1] / early[0] - 1 if early else 0.0
    share = round(result["per_second"] / baseline, 3)
    facts = {"subject": "service", **result, "of_in_process": share,
             "memory_mb": round(notes[-1][1] / 1e6), "memory_growth": round(growth, 3)}  # fmt: skip
    print(json.dumps(facts), flush=True)
    if chosen.peer:
        result = asyncio.run(load(chosen.peer, pictures, chosen.clients, chosen.seconds))
        print(json.dumps({"subject": "peer", **result}), flush=True)


if __name__ == "__main__":
    main()
