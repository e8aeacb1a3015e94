"""/v1/jobs: how far the work is, once or as a stream of events."""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse
from starlette.responses import Response

from service.api import events, problems
from service.api.deps import ReadAccess, ReadSessionDep, StateDep
from service.api.schemas import JobOut, JobPage
from service.catalog import job_queries, status_queries
from service.catalog.session import Sessions
from service.catalog.tables import Job, JobKind, JobState
from service.errors import ForbiddenError, NotFoundError, UnauthenticatedError, UnavailableError

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError),
)

OF_A_VIDEO = {JobKind.INGEST, JobKind.EMBED}


def job_out(job: Job) -> JobOut:
    """Describe a job for clients."""
    return JobOut(
        id=job.id,
        kind=job.kind,
        state=job.state,
        percent=100.0 if job.state is JobState.DONE else round(100 * job.progress, 1),
        stage=job.stage,
        reason=job.reason,
        detail=job.detail,
        attempts=job.attempts,
        subject_id=job.subject_id,
        video_id=job.subject_id if job.kind in OF_A_VIDEO else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def read_watched(reads: Sessions, job_ids: Collection[UUID]) -> Mapping[UUID, JobOut]:
    """Return the jobs that streams follow."""
    with reads() as session:
        return {job.id: job_out(job) for job in status_queries.jobs_by_id(session, job_ids)}


def read_one(reads: Sessions, job_id: UUID) -> JobOut:
    """Return one job.

    Raises:
        NotFoundError: there is none with this id.
    """
    with reads() as session:
        return job_out(job_queries.get_job(session, job_id))


@router.get("")
def list_jobs(
    session: ReadSessionDep,
    _access: ReadAccess,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    state: JobState | None = None,
) -> JobPage:
    """Return the newest jobs."""
    jobs = status_queries.newest_jobs(session, limit=limit, state=state)
    return JobPage(jobs=[job_out(job) for job in jobs])


@router.get("/{job_id}", responses=problems.responses(NotFoundError))
def read_job(job_id: UUID, state: StateDep, _access: ReadAccess) -> JobOut:
    """Return one job."""
    return read_one(state.reads, job_id)


@router.get(
    "/{job_id}/events",
    response_class=Response,  # FastAPI would take this for a generator if it were the stream's
    responses={
        200: {"content": {EventSourceResponse.media_type: {}}},
        204: {"description": "The client has seen the end already."},
        **problems.responses(NotFoundError, UnavailableError),
    },
)
async def stream_job(
    job_id: UUID,
    state: StateDep,
    access: ReadAccess,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Stream `progress` events as the job goes on, then `end` once; `data` is the job."""
    job = await anyio.to_thread.run_sync(read_one, state.reads, job_id)
    if job.state in events.ENDED and last_event_id == events.event_id(job):
        return Response(status_code=HTTPStatus.NO_CONTENT)  # tells EventSource to stop
    state.feed.check_room(access.key_id)
    return EventSourceResponse(
        events.stream(state.feed, job, last_event_id=last_event_id, owner=access.key_id),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
