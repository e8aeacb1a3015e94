"""Jobs: who may work on what, and until when. Locks are taken in the order job, video, counter."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.import_progress import skip_item
from service.catalog.tables import (
    Generation,
    GenerationState,
    Job,
    JobKind,
    JobState,
    Video,
    VideoState,
)
from service.catalog.webhook_queries import announce_failure
from service.errors import NotFoundError, UnavailableError

MAX_ATTEMPTS = 3
LEASE_S = 30.0
MAX_DETAIL = 2000
OPEN = (JobState.QUEUED, JobState.RUNNING)
WORKER_LOST = "worker_lost"


class LostLeaseError(Exception):
    """The job belongs to someone else by now, or to no one: stop, and write nothing."""


def add_ingest_jobs(session: Session, video: Video) -> list[Job]:
    """Queue one ingest job, for the generation that is searched; its commit sees to the others.

    Raises:
        UnavailableError: none is found, as when models take over from each other all the time.
    """
    generations = (
        select(Generation)
        .where(Generation.state == GenerationState.ACTIVE)
        .with_for_update(read=True)
    )
    # who waited for a switch to another generation finds none the first time
    found = session.scalars(generations).all() or session.scalars(generations).all()
    if not found:
        raise UnavailableError("Another model is taking over; try again.", retry_after_s=1)
    jobs = [
        Job(
            kind=JobKind.INGEST,
            subject_id=video.id,
            generation_id=generation.id,
            version=video.version,
        )
        for generation in found
    ]
    session.add_all(jobs)
    session.flush()
    return jobs


def get_job(session: Session, job_id: UUID) -> Job:
    """Return a job.

    Raises:
        NotFoundError: there is none with this id.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return job


def claim_job(
    session: Session, job_id: UUID, *, lease_s: float, max_attempts: int = MAX_ATTEMPTS
) -> Job | None:
    """Take the job for this worker, or return None when there is nothing to do.

    One UPDATE decides: the job is free, or the lease of whoever had it is over. The fence of the
    returned job is what every later write must show.
    """
    job = session.scalar(
        update(Job)
        .where(Job.id == job_id, waits(lease_s), Job.attempts < max_attempts)
        .values(
            state=JobState.RUNNING,
            fence=Job.fence + 1,
            attempts=Job.attempts + 1,
            lease_until=database_time(lease_s),
            started_at=database_time(),
            stage=None,
            progress=0.0,
        )
        .returning(Job)
        .execution_options(populate_existing=True)
    )
    if job is not None:
        _set_video_state(session, job, VideoState.QUEUED, VideoState.PROCESSING)
    return job


def renew_lease(
    session: Session,
    job_id: UUID,
    fence: int,
    *,
    lease_s: float,
    progress: float | None = None,
    stage: str | None = None,
) -> bool:
    """Keep the job for longer and say how far it is; False means that it is lost: stop working.

    Args:
        session: a writing session.
        job_id: the job.
        fence: as `claim_job` gave it.
        lease_s: the new lease, from now.
        progress: share done, 0 to 1; None leaves it.
        stage: what is being done, in one word; None leaves it.
    """
    said = {"progress": progress, "stage": stage}
    kept = session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.fence == fence, Job.state == JobState.RUNNING)
        .values(
            lease_until=database_time(lease_s),
            **{name: value for name, value in said.items() if value is not None},
        )
        .returning(Job.id)
    )
    return kept is not None


def keep_attempts(session: Session, job_id: UUID, fence: int) -> None:
    """Forget earlier attempts: this one has advanced, durably.

    Else a long job that is interrupted often would be given up although it gets on.
    """
    session.execute(
        update(Job).where(Job.id == job_id, Job.fence == fence, Job.attempts > 1).values(attempts=1)
    )


def lock_own_job(session: Session, job_id: UUID, fence: int) -> Job:
    """Lock a job that this worker claimed.

    Raises:
        LostLeaseError: it was claimed by another one since, cancelled or closed.
    """
    job = session.scalar(
        select(Job)
        .where(Job.id == job_id, Job.fence == fence, Job.state == JobState.RUNNING)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise LostLeaseError(f"job {job_id} with fence {fence} is not ours any more")
    return job


def fail_job(session: Session, job_id: UUID, fence: int, *, reason: str, detail: str) -> None:
    """Close a job that will not succeed, and its video with it.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    _fail(session, lock_own_job(session, job_id, fence), reason=reason, detail=detail)


def requeue_job(
    session: Session,
    job_id: UUID,
    fence: int,
    *,
    reason: str,
    detail: str,
    max_attempts: int = MAX_ATTEMPTS,
) -> JobState:
    """Give a job back that may succeed another time; after `max_attempts` it has failed.

    Returns:
        `queued`, or `failed` if that was the last attempt.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    if job.attempts >= max_attempts:
        _give_up(session, job, reason=reason, detail=detail)
        return job.state
    job.state = JobState.QUEUED
    job.lease_until = job.sent_at = None
    job.reason, job.detail = reason, detail[:MAX_DETAIL]
    session.flush()
    _set_video_state(session, job, VideoState.PROCESSING, VideoState.QUEUED)
    return JobState.QUEUED


def postpone_job(
    session: Session, job_id: UUID, fence: int, *, wait_s: float, reason: str, detail: str
) -> None:
    """Give a job back that can't go on now through no fault of its own, as on a full disk.

    The attempt does not count, and nobody takes the job before it has waited.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    release_job(session, job_id, fence)
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(not_before=database_time(wait_s), reason=reason, detail=detail[:MAX_DETAIL])
    )


def release_job(session: Session, job_id: UUID, fence: int) -> None:
    """Give a job back untouched because this worker stops; the attempt does not count.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    job.state, job.attempts = JobState.QUEUED, job.attempts - 1
    job.lease_until = job.sent_at = None
    session.flush()
    _set_video_state(session, job, VideoState.PROCESSING, VideoState.QUEUED)


def fail_poisoned_jobs(
    session: Session, *, lease_s: float = LEASE_S, max_attempts: int = MAX_ATTEMPTS
) -> list[Job]:
    """Give up jobs whose last attempt ended without a word, as when they kill their worker.

    Also those that wait although fewer attempts are allowed by now: nobody may claim them.
    """
    is_free = or_(Job.state == JobState.QUEUED, _is_abandoned(lease_s))
    poisoned = session.scalars(
        select(Job)
        .where(is_free, Job.attempts >= max_attempts)
        .order_by(Job.id)
        .with_for_update(skip_locked=True)
    ).all()
    for job in poisoned:
        lost = f"The worker was lost {job.attempts} times while it worked on this."
        _give_up(session, job, reason=job.reason or WORKER_LOST, detail=job.detail or lost)
    return [job for job in poisoned if job.state is JobState.FAILED]


def lock_jobs_of(session: Session, video_id: UUID) -> Sequence[Job]:
    """Lock all jobs of a video; who will lock the video itself must do this first."""
    return session.scalars(
        select(Job).where(Job.subject_id == video_id).order_by(Job.id).with_for_update()
    ).all()


def running_work(session: Session) -> set[tuple[UUID, int]]:
    """Return (job id, fence) of everything that is being worked on."""
    rows = session.execute(select(Job.id, Job.fence).where(Job.state == JobState.RUNNING))
    return {(job_id, fence) for job_id, fence in rows}


def waits(lease_s: float) -> ColumnElement[bool]:
    """Nobody works on a job: it is queued and due, or the lease of whoever had it is over."""
    is_due = or_(Job.not_before.is_(None), Job.not_before <= database_time())
    return or_(and_(Job.state == JobState.QUEUED, is_due), _is_abandoned(lease_s))


def _give_up(session: Session, job: Job, *, reason: str, detail: str) -> None:
    """Fail a job that was tried often enough; of an import only the file at which it ends."""
    if job.kind is not JobKind.IMPORT or not skip_item(session, job, reason=reason, detail=detail):
        _fail(session, job, reason=reason, detail=detail)


def _fail(session: Session, job: Job, *, reason: str, detail: str) -> None:
    job.state = JobState.FAILED
    job.reason, job.detail = reason, detail[:MAX_DETAIL]
    job.lease_until = None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))
    if job.kind is JobKind.ACTIVATE and job.generation_id is not None:
        give_up_generation(session, job.generation_id)
    if job.kind is JobKind.INGEST:  # all others work on videos that are searched already
        waiting = (VideoState.QUEUED, VideoState.PROCESSING)
        session.execute(
            update(Video)
            .where(
                Video.id == job.subject_id, Video.version == job.version, Video.state.in_(waiting)
            )
            .values(
                state=VideoState.FAILED,
                reason=reason,
                detail=detail[:MAX_DETAIL],
                updated_at=database_time(),
            )
        )
    announce_failure(session, job)


def give_up_generation(session: Session, generation_id: UUID) -> None:
    """Retire a generation that was being built; nothing embeds for it any more."""
    retired = session.scalar(
        update(Generation)
        .where(Generation.id == generation_id, Generation.state == GenerationState.BUILDING)
        .values(state=GenerationState.RETIRED, kept_until=database_time())
        .returning(Generation.id)
    )
    if retired is not None:
        cancel_embed_jobs(session, generation_id)


def cancel_embed_jobs(session: Session, generation_id: UUID) -> None:
    """End the jobs that embed for a generation which nobody will search."""
    session.execute(
        update(Job)
        .where(Job.generation_id == generation_id, Job.kind == JobKind.EMBED, Job.state.in_(OPEN))
        .values(state=JobState.CANCELLED, lease_until=None, finished_at=database_time())
    )


def _set_video_state(session: Session, job: Job, before: VideoState, after: VideoState) -> None:
    if job.kind is not JobKind.INGEST:
        return
    session.execute(
        update(Video)
        .where(Video.id == job.subject_id, Video.version == job.version, Video.state == before)
        .values(state=after, updated_at=database_time())
    )


def _is_abandoned(lease_s: float) -> ColumnElement[bool]:
    """It runs, but whoever had it was silent for longer than the lease.

    A lease that ends farther away than any could is from before the clock was set back: its
    worker, if it lives, shortens it within a third of a lease.
    """
    is_over = or_(Job.lease_until < database_time(), Job.lease_until > database_time(2 * lease_s))
    return and_(Job.state == JobState.RUNNING, is_over)
