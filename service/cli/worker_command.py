"""Which workers there are, and the Celery command line of each."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from service.jobs import Queue
from service.settings import Settings

NO_FEAR_OF_ROOT = "ignore:You're running the worker with superuser privileges"
"""Celery warns of pickled messages; ours are JSON, and hold nothing but the id of a job."""


@dataclass(frozen=True, kw_only=True)
class WorkerKind:
    """One kind of worker process.

    Attributes:
        name: what people read.
        queues: the work that it takes.
        threads: jobs that it runs at once.
        has_clock: whether it sends sweeps.
    """

    name: str
    queues: tuple[Queue, ...]
    threads: Callable[[Settings], int]
    has_clock: bool = False


INGESTING = WorkerKind(
    name="Worker",
    queues=(Queue.INGEST, Queue.MAINTENANCE),
    threads=lambda settings: settings.ingest_concurrency,
    has_clock=True,
)
TUNING = WorkerKind(
    name="Tuner",
    queues=(Queue.TUNING, Queue.BACKGROUND),
    threads=lambda settings: settings.tuner_concurrency,
)
ERRANDS = WorkerKind(
    name="Courier",
    queues=(Queue.ERRANDS,),
    threads=lambda settings: settings.courier_concurrency,
)
"""Fetches videos and tells webhooks; it holds no network and no torch."""


def worker_command(settings: Settings, kind: WorkerKind) -> list[str]:
    """Return the Celery command line; docker-compose.yml runs the same through `worker`."""
    return [
        *(
            sys.executable,
            "-W",
            NO_FEAR_OF_ROOT,
            "-m",
            "celery",
            "--quiet",
            "--app",
            "workers.app",
            "worker",
        ),
        *("--pool", "threads", "--concurrency", str(kind.threads(settings))),
        *("--queues", ",".join(kind.queues), "--hostname", f"{kind.name.lower()}@%h"),
        # in memory: no file to share; the workers that ingest sweep
        *(["--beat", "--scheduler", "celery.beat:Scheduler"] if kind.has_clock else []),
        *("--loglevel", settings.log_level, "--without-gossip", "--without-mingle"),
    ]
