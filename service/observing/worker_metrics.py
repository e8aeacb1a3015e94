"""What a worker process counts: jobs, the stages of an ingest, what could not be decoded."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.catalog.tables import JobKind

SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400)
OUTCOMES = ("done", "failed", "requeued", "postponed", "released", "lost")
Ended = Callable[..., None]
"""Called with the outcome, one of OUTCOMES, and the reason if the attempt did not succeed."""


class WorkerMetrics:
    """The figures of one worker process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Histogram(
            "reelseek_job_seconds",
            "Time that one attempt of a job took, by kind and outcome.",
            ["kind", "outcome"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._running = Gauge(
            "reelseek_jobs_in_work",
            "Jobs that this process works on.",
            ["kind"],
            registry=self.registry,
        )
        self._failures = Counter(
            "reelseek_job_failures",
            "Attempts that failed, by kind and reason; retried ones too.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self._stages = Histogram(
            "reelseek_ingest_stage_seconds",
            "What an ingest waited for: its decoder, its embeddings, the commit, the rest.",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._damaged = Counter(
            "reelseek_decode_failures",
            "Videos that could not be decoded, or not wholly, by cause.",
            ["reason", "extent"],
            registry=self.registry,
        )
        self._clips = Counter("reelseek_clips_embedded", "Clips embedded.", registry=self.registry)
        self._passes = Counter(
            "reelseek_forward_passes", "Forward passes over clips.", registry=self.registry
        )
        self.sweeps = Histogram(
            "reelseek_sweep_seconds",
            "Time that a sweep took.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._swept = Counter(
            "reelseek_swept",
            "What sweeps sent again, gave up or removed, by what it was.",
            ["what"],
            registry=self.registry,
        )
        for kind in JobKind:
            self._running.labels(kind)
            for outcome in OUTCOMES:  # a series that begins with its first failure hides that one
                self._jobs.labels(kind, outcome)

    @contextmanager
    def job(self, kind: JobKind) -> Iterator[Ended]:
        """Count an attempt from its claim to its close; call what is yielded when it has ended."""
        began = time.monotonic()

        def ended(outcome: str, reason: str | None = None) -> None:
            self._jobs.labels(kind, outcome).observe(time.monotonic() - began)
            if reason is not None:
                self._failures.labels(kind, reason).inc()

        with self._running.labels(kind).track_inprogress():
            yield ended

    def observe_ingest(self, timings_ms: Mapping[str, float]) -> None:
        """Count what each stage of an ingest took, and the whole."""
        for stage, duration_ms in timings_ms.items():
            self._stages.labels(stage).observe(duration_ms / 1000)

    def count_damage(self, reason: str, *, is_whole: bool) -> None:
        """Count a video that could not be decoded (`is_whole`), or not all of it."""
        self._damaged.labels(reason, "whole" if is_whole else "part").inc()

    def count_pass(self, clips: int) -> None:
        """Count a forward pass over so many clips."""
        self._passes.inc()
        self._clips.inc(clips)

    def count_swept(self, what: str, number: int) -> None:
        """Count what a sweep did."""
        if number:
            self._swept.labels(what).inc(number)
