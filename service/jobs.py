"""Task names, the Celery configuration, and the only writer to the broker.

A message is a hint that carries a job's id: the jobs table decides who works on what, so lost,
doubled and late messages change nothing.
"""

from enum import StrEnum
from typing import Any
from uuid import UUID

import kombu
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from service import tracing
from service.broker import folder_broker
from service.catalog.tables import JobKind
from service.settings import Settings

log = structlog.get_logger(__name__)

SEND_TIMEOUT_S = 2.0


class Queue(StrEnum):
    """Kinds of work; a worker process reads some of them."""

    INGEST = "ingest"
    MAINTENANCE = "maintenance"
    """Of its own: sweeps that nobody had time for must not stand before an upload."""
    TUNING = "tuning"
    BACKGROUND = "background"
    """Long work that must not stand before an upload, nor behind a tuning."""
    ERRANDS = "errands"
    """Work that waits for others: files that are fetched, webhooks that are told."""


class Task(StrEnum):
    """The functions that workers can run; a test proves that each has one."""

    INGEST_VIDEO = "reelseek.ingest_video"
    EMBED_VIDEO = "reelseek.embed_video"
    TUNE = "reelseek.tune"
    ACTIVATE = "reelseek.activate"
    EVALUATE = "reelseek.evaluate"
    IMPORT = "reelseek.import"
    DELIVER = "reelseek.deliver"
    SWEEP = "reelseek.sweep"


TASK_OF = {
    JobKind.INGEST: Task.INGEST_VIDEO,
    JobKind.EMBED: Task.EMBED_VIDEO,
    JobKind.TUNE: Task.TUNE,
    JobKind.ACTIVATE: Task.ACTIVATE,
    JobKind.EVALUATE: Task.EVALUATE,
    JobKind.IMPORT: Task.IMPORT,
    JobKind.DELIVER: Task.DELIVER,
}

QUEUE_OF = {
    Task.INGEST_VIDEO: Queue.INGEST,
    Task.EMBED_VIDEO: Queue.INGEST,
    Task.TUNE: Queue.TUNING,
    Task.ACTIVATE: Queue.BACKGROUND,
    Task.EVALUATE: Queue.BACKGROUND,
    Task.IMPORT: Queue.ERRANDS,
    Task.DELIVER: Queue.ERRANDS,
    Task.SWEEP: Queue.MAINTENANCE,
}


def make_celery(settings: Settings) -> Celery:
    """Configure Celery for a worker: a Redis, or a folder below the data folder."""
    app = Celery("reelseek")
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_default_queue=str(Queue.INGEST),
        task_queues=[
            kombu.Queue(str(name), kombu.Exchange(str(name)), routing_key=str(name))
            for name in Queue
        ],
        task_routes={
            str(task): {"queue": str(queue), "routing_key": str(queue)}
            for task, queue in QUEUE_OF.items()
        },
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the jobs table decides; on, a poison task goes round
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=settings.broker_url is not None,  # only Redis knows it
        worker_enable_remote_control=False,  # its messages would pile up in a folder
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a night without Redis must not end the workers
        beat_schedule={
            "sweep": {
                "task": str(Task.SWEEP),
                "schedule": settings.sweep_every_s,
                "options": {"expires": 2 * settings.sweep_every_s},  # one is as good as many
            }
        },
        beat_scheduler="celery.beat:Scheduler",  # in memory: a sweep too many does no harm
        **_broker(settings),
    )
    return app


class JobSender:
    """Wakes workers. Give it back with `close()`."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_celery(settings)
        self._app.conf.update(_impatient(self._app.conf.broker_transport_options))

    def send(self, task: Task, job_id: UUID) -> bool:
        """Send a hint, after the commit. A broker that is down is logged and does no harm.

        The sweeper sends again whatever waits for too long.

        Returns:
            Whether the broker took it.
        """
        try:
            self._app.send_task(
                str(task), args=[str(job_id)], headers=_trace_headers(), retry=False
            )
        except (OperationalError, OSError) as error:
            log.warning("job_not_sent", task=str(task), job_id=str(job_id), error=str(error))
            return False
        return True

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()


def _trace_headers() -> dict[str, str] | None:
    """Let the job be part of the trace of its request; one that is sent again begins its own."""
    parent = tracing.traceparent()
    return {tracing.TRACEPARENT: parent} if parent else None


def _broker(settings: Settings) -> dict[str, Any]:
    if settings.broker_url is None:
        return folder_broker(settings.data_dir / "broker")
    return {
        "broker_url": settings.broker_url,
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "unacked_restore_throttle": 100,  # looks, of which a worker takes ten a second
        },
    }


def _impatient(transport_options: dict[str, Any]) -> dict[str, Any]:
    """An upload must not hang because the broker does; a worker may wait for it."""
    return {
        "broker_connection_timeout": SEND_TIMEOUT_S,
        "broker_transport_options": {
            **transport_options,
            "socket_connect_timeout": SEND_TIMEOUT_S,
            "socket_timeout": SEND_TIMEOUT_S,
            "retry_on_timeout": False,
            "max_retries": 0,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
            "connect_retries_timeout": SEND_TIMEOUT_S,
        },
    }
