"""What a worker process counts: jobs, the stages of an ingest, what could not be decoded."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.catalog.tables import JobKind

SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400)
STAGES = ("load", "decode", "embed", "commit")
OUTCOMES = ("done", "failed", "requeued", "released", "lost")


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
            "What an ingest waited for: the model, its decoder, its embeddings, the commit.",
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
        self.clips = Counter("reelseek_clips_embedded", "Clips embedded.", registry=self.registry)
        self.passes = Counter(
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
        for kind in JobKind:  # a series that begins with its first failure hides that failure
            self._running.labels(kind)
        for stage in STAGES:
            self._stages.labels(stage)

    @contextmanager
    def job(self, kind: JobKind) -> Iterator["JobClock"]:
        """Count a job from its claim to its close."""
        clock = JobClock()
        with self._running.labels(kind).track_inprogress():
            yield clock
        self._jobs.labels(kind, clock.outcome).observe(clock.seconds)
        if clock.reason is not None:
            self._failures.labels(kind, clock.reason).inc()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as that of a stage of one ingest."""
        clock = JobClock()
        yield
        self._stages.labels(name).observe(clock.seconds)

    def observe_stage(self, name: str, seconds: float) -> None:
        """Count the time that a stage of one ingest took in all."""
        self._stages.labels(name).observe(seconds)

    def count_damage(self, reason: str, *, is_whole: bool) -> None:
        """Count a video that could not be decoded (`is_whole`), or not all of it."""
        self._damaged.labels(reason, "whole" if is_whole else "part").inc()

    def count_swept(self, what: str, number: int) -> None:
        """Count what a sweep did."""
        self._swept.labels(what).inc(number)


class JobClock:
    """Measures one attempt, and is told how it ended."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.outcome = "lost"
        self.reason: str | None = None

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._began

    def end(self, outcome: str, reason: str | None = None) -> None:
        """Say how it ended, one of OUTCOMES, and why if it failed."""
        self.outcome, self.reason = outcome, reason
