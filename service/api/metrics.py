"""Figures for Prometheus: requests, searches, uploads, jobs, the replica."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.observing.process_figures import add_process_figures
from service.observing.readings import Readings, Watched

KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """The figures of one application; each has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "reelseek_request_seconds",
            "Time from the request's first byte to the answer's last.",
            ["method", "route", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "reelseek_search_stage_seconds",
            "Time that one stage of a search took.",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.probes = Histogram(
            "reelseek_probe_seconds",
            "Time that looking at an uploaded file took.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "reelseek_uploads_refused",
            "Uploaded files that are no video that can be read, by cause.",
            ["reason"],
            registry=self.registry,
        )
        self._degraded = Counter(
            "reelseek_searches_degraded",
            "Searches answered before all of re-ranking was done.",
            registry=self.registry,
        )
        self.upload_bytes = Counter(
            "reelseek_upload_bytes", "Bytes of video received.", registry=self.registry
        )
        self.uploads_open = Gauge(
            "reelseek_uploads_open", "Uploads being received.", registry=self.registry
        )
        add_process_figures(self.registry, kind="api")

    def observe_request(self, *, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one answered request."""
        method = method if method in KNOWN_METHODS else "other"
        self._requests.labels(method, route, str(status)).observe(duration_s)

    def observe_search(self, timings_ms: Mapping[str, float], *, is_degraded: bool) -> None:
        """Count one search and its stages."""
        for stage, duration_ms in timings_ms.items():
            self._stages.labels(stage).observe(duration_ms / 1000)
        if is_degraded:
            self._degraded.inc()

    def count_refused(self, reason: str) -> None:
        """Count a file that was refused after a look at it."""
        self._refused.labels(reason).inc()

    def watch(self, read: Callable[[], Readings]) -> None:
        """Read the figures that live elsewhere (SQL, the replica) whenever Prometheus asks."""
        self.registry.register(Watched(read))

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
