"""run_job(): claim a job, work on it under a lease, and close it whatever happens."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from celery import current_task
from sqlalchemy.exc import DBAPIError

from service import tracing
from service.catalog import job_queries, message_queries
from service.catalog.job_queries import LostLeaseError
from service.catalog.session import in_transaction, is_disk_full
from service.catalog.tables import Job, JobKind, JobState
from service.errors import ServiceError, StorageFullError, UnavailableError
from service.log import REQUEST_ID
from workers.lease import JobStoppedError, Lease
from workers.resources import Resources

Work = Callable[[Job, Lease, Resources], None]
"""Does the job and commits its result, fenced. Raises WorkError when that will never work."""

CRASHED = "internal_error"
FULL_DISK_WAIT_S = 15.0
"""How long a job waits for room on the disk before it looks again."""
OF_VIDEOS = {JobKind.INGEST, JobKind.EMBED}

log = structlog.get_logger(__name__)


class WorkError(Exception):
    """The job can't be done, for a reason that its user should read.

    Args:
        reason: machine-readable code.
        detail: a sentence for a person.
        is_final: trying again would end the same.
    """

    def __init__(self, reason: str, detail: str, *, is_final: bool) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.is_final = is_final


class Ending(NamedTuple):
    """How an attempt ended, for the figures; the reason if it did not succeed."""

    outcome: str
    reason: str | None = None


def run_job(job_id: UUID, work: Work, resources: Resources) -> None:
    """Work on a job if it is free; running it twice changes nothing.

    One UPDATE decides who works. A job that fails is queued again, and sent again by the
    sweep, until it was tried `job_attempts` times; one that only has to wait (StorageFullError,
    UnavailableError) waits for as long as it takes. No failure of a job leaves this function.
    """
    job = _claim(job_id, resources)
    if job is None:
        log.info("job_not_free", job_id=str(job_id))
        return
    with structlog.contextvars.bound_contextvars(**_log_fields(job)):
        log.info("job_started")
        with (
            tracing.span(f"job {job.kind}", parent=_trace_of_sender(), **_log_fields(job)),
            resources.metrics.job(job.kind) as ended,
        ):
            try:
                ending = _work_on(job, work, resources)
            except LostLeaseError as error:
                log.info("job_lost", why=str(error))
                ending = Ending("lost")
            ended(*ending)
            tracing.note(ending._asdict())


def _trace_of_sender() -> str | None:
    """Return what the message says of the trace that it was sent in."""
    task = current_task
    parent: str | None = task.request.get(tracing.TRACEPARENT) if task else None
    return parent


def _log_fields(job: Job) -> dict[str, Any]:
    """Return what every line of the job says; jobs that it makes are of the same request."""
    subject = "video_id" if job.kind in OF_VIDEOS else "subject_id"
    return {
        "job_id": str(job.id),
        "kind": str(job.kind),
        subject: str(job.subject_id),
        "attempt": job.attempts,
        REQUEST_ID: job.request_id,
    }


def run_in_line(kind: JobKind, work: Work, resources: Resources) -> None:
    """Work on all jobs of a kind that wait, one after the other, the oldest first.

    For work that a process does one at a time: a message that comes meanwhile need not be kept.
    Each job is tried once; what is queued again waits for the sweep.
    """
    tried: set[UUID] = set()
    while not resources.must_stop and not resources.is_stopping:
        with resources.reads() as session:
            job_id = message_queries.oldest_waiting(
                session, kind, but=tried, lease_s=resources.settings.job_lease_s
            )
        if job_id is None:
            return
        tried.add(job_id)
        run_job(job_id, work, resources)


def _claim(job_id: UUID, resources: Resources) -> Job | None:
    settings = resources.settings
    return in_transaction(
        resources.sessions,
        lambda session: job_queries.claim_job(
            session, job_id, lease_s=settings.job_lease_s, max_attempts=settings.job_attempts
        ),
    )


def _work_on(job: Job, work: Work, resources: Resources) -> Ending:
    lease = Lease(
        resources.sessions,
        job,
        lease_s=resources.settings.job_lease_s,
        must_stop=lambda: resources.must_stop,
    )
    try:
        with lease:
            work(job, lease, resources)
    except LostLeaseError:
        raise
    except JobStoppedError as stopped:
        if lease.is_lost:
            raise LostLeaseError("cancelled, or taken by another worker") from stopped
        return _release(job, resources)
    except (StorageFullError, UnavailableError) as error:
        return _postpone(job, error, resources)
    except Exception as error:  # noqa: BLE001 (whatever it was, the job must be closed)
        if isinstance(error, DBAPIError) and is_disk_full(error):
            return _postpone(job, StorageFullError("The database's disk is full."), resources)
        return _close(job, _as_work_error(error), resources)
    log.info("job_done")
    return Ending("done")


def _as_work_error(error: Exception) -> WorkError:
    if isinstance(error, WorkError):
        return error
    if isinstance(error, ServiceError):
        return WorkError(error.reason, error.detail, is_final=False)
    log.error("job_crashed", exc_info=error)
    detail = f"Something unexpected went wrong ({type(error).__name__}); the log says more."
    return WorkError(CRASHED, detail, is_final=False)


def _close(job: Job, error: WorkError, resources: Resources) -> Ending:
    """Fail the job, or queue it once more."""
    if error.is_final:
        in_transaction(
            resources.sessions,
            lambda session: job_queries.fail_job(
                session, job.id, job.fence, reason=error.reason, detail=error.detail
            ),
        )
        state = JobState.FAILED
    else:
        state = in_transaction(
            resources.sessions,
            lambda session: job_queries.requeue_job(
                session,
                job.id,
                job.fence,
                reason=error.reason,
                detail=error.detail,
                max_attempts=resources.settings.job_attempts,
            ),
        )
    is_failed = state is JobState.FAILED
    event = "job_failed" if is_failed else "job_requeued"
    log.warning(event, reason=error.reason, detail=error.detail)
    return Ending("failed" if is_failed else "requeued", error.reason)


def _postpone(job: Job, error: ServiceError, resources: Resources) -> Ending:
    """Let the job wait for room on the disk, or for what is away; no attempt is lost by that."""
    wait_s = error.retry_after_s or FULL_DISK_WAIT_S
    in_transaction(
        resources.sessions,
        lambda session: job_queries.postpone_job(
            session,
            job.id,
            job.fence,
            wait_s=wait_s,
            reason=error.reason,
            detail=f"{error.detail} It is tried again by itself.",
        ),
    )
    log.warning("job_postponed", reason=error.reason, detail=error.detail, wait_s=wait_s)
    return Ending("postponed", error.reason)


def _release(job: Job, resources: Resources) -> Ending:
    """Give the job back because this worker stops; the next one starts it afresh."""
    in_transaction(
        resources.sessions,
        lambda session: job_queries.release_job(session, job.id, job.fence),
    )
    log.info("job_released")
    return Ending("released")
