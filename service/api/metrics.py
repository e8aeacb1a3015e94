"""Figures for Prometheus: requests, searches, uploads, jobs, the replica."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.errors import ServiceError

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

    def watch(self, read: Callable[[], "Readings"]) -> None:
        """Read the figures that live elsewhere (SQL, the replica) whenever Prometheus asks."""
        self.registry.register(_Watched(read))

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class Readings(dict[str, float | Mapping[str, float]]):
    """Figure by name; a mapping holds one figure per state."""


class _Watched(Collector):
    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Tell Prometheus' registry nothing yet: reading would need the database."""
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read the figures now; without a database the others are still told."""
        try:
            readings = self._read()
        except ServiceError:
            return
        for name, figure in readings.items():
            if isinstance(figure, Mapping):
                family = GaugeMetricFamily(name, name.replace("_", " "), labels=["state"])
                for state, value in figure.items():
                    family.add_metric([state], value)
            else:
                family = GaugeMetricFamily(name, name.replace("_", " "), value=figure)
            yield family
