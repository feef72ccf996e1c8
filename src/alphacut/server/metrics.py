"""What the service counts, in Prometheus's format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from alphacut.server.body import Budget
from alphacut.server.pool import Pool

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one running service.

    Args:
        pool: Whose load the gauges show.
        budget: Whose memory they show.
    """

    def __init__(self, pool: Pool, budget: Budget) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "alphacut_requests", "Requests by path and status.", ["path", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.rejects = Counter(
            "alphacut_rejects", "Requests refused, by reason.", ["code"], registry=self.registry
        )
        self.seconds = Histogram(
            "alphacut_request_seconds", "From a request's head to the end of its answer.",
            ["path"], buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.stages = Histogram(
            "alphacut_stage_seconds", "Time of each stage of the pipeline.", ["stage"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.megapixels = Counter(
            "alphacut_input_megapixels", "Input processed.", registry=self.registry
        )
        gauges = {
            "queue": ("Requests waiting for a worker.", lambda: pool.queued),
            "inside": ("Requests waiting or being processed.", lambda: pool.inside),
            "workers": ("Workers that are up.", lambda: len(pool.alive)),
            "worker_restarts": ("Workers that died and were replaced.", lambda: pool.restarts),
            "body_bytes": ("Bytes of request bodies in memory.", lambda: budget.held_bytes),
        }
        for name, (meaning, value) in gauges.items():
            gauge = Gauge(f"alphacut_{name}", meaning, registry=self.registry)
            gauge.set_function(value)
