"""/v1/tunings: tune a model on captions and feedback, watch it, cancel it."""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse
from starlette.responses import JSONResponse, Response

from service.api import events, problems, tuning_events
from service.api.deps import AdminAccess, ReadAccess, ReadSessionDep, StateDep, key_of
from service.api.once import ONCE
from service.api.schemas import Cursor
from service.api.state import State
from service.api.tuning_schemas import (
    DryRunOut,
    RequestedTuning,
    TuningCurve,
    TuningIn,
    TuningOut,
    TuningPage,
)
from service.api.tuning_views import links_of, notice_out, point_out, progress_out, tuning_out
from service.catalog import tuning_progress_queries, tuning_queries
from service.cursors import decode_cursor, encode_cursor
from service.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from service.registry import Registry
from service.tunings import estimating, requesting
from service.tunings.request import TuningRequest

router = APIRouter(
    prefix="/v1/tunings",
    tags=["tunings"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, InvalidInputError),
)

CURSOR_KIND = "tunings"


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    response_model=RequestedTuning,
    dependencies=[ONCE],
    responses={
        200: {"model": DryRunOut, "description": "A dry run: nothing was started."},
        **problems.responses(NotFoundError, ConflictError, UnavailableError),
    },
)
async def create_tuning(body: TuningIn, state: StateDep, principal: AdminAccess) -> Response:
    """Queue a run; or, with `dry_run`, say what it would take."""
    request = body.as_request()
    if body.dry_run:
        told = await state.estimates.run(partial(_look_ahead, state, request))
        return JSONResponse(told.model_dump(mode="json"))
    requested = await anyio.to_thread.run_sync(
        partial(
            requesting.request_tuning,
            state.sessions,
            state.reads,
            state.sender,
            Registry(state.settings.data_dir),
            request,
            created_by=key_of(principal),
        )
    )
    answer = RequestedTuning(
        id=requested.tuning_id,
        job_id=requested.job_id,
        links=links_of(requested.tuning_id, requested.job_id),
    )
    return JSONResponse(
        answer.model_dump(mode="json"),
        HTTPStatus.ACCEPTED,
        {"Location": answer.links.self},
    )


@router.get("", responses=problems.responses(BadRequestError))
def list_tunings(
    *,
    state: StateDep,
    _access: ReadAccess,
    session: ReadSessionDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
) -> TuningPage:
    """Return runs, newest first."""
    before = None
    if cursor is not None:
        created_at, tuning_id = decode_cursor(state.cursor_key, CURSOR_KIND, cursor)
        before = (datetime.fromisoformat(created_at), UUID(tuning_id))
    found = tuning_queries.list_tunings(session, limit=limit + 1, before=before)
    shown = found[:limit]
    next_cursor = None
    if len(found) > limit:
        last = shown[-1].tuning
        position = [last.created_at.isoformat(), str(last.id)]
        next_cursor = encode_cursor(state.cursor_key, CURSOR_KIND, position)
    newest = tuning_progress_queries.last_points(session, [one.tuning.id for one in shown])
    etas = {tuning_id: point.values["eta_s"] for tuning_id, point in newest.items()}
    return TuningPage(
        tunings=[progress_out(one, etas.get(one.tuning.id)) for one in shown],
        next_cursor=next_cursor,
    )


@router.get("/{tuning_id}", responses=problems.responses(NotFoundError))
def read_tuning(tuning_id: UUID, _access: ReadAccess, session: ReadSessionDep) -> TuningOut:
    """Return one run, with its report once it is there."""
    record = tuning_queries.get_tuning(session, tuning_id)
    newest = tuning_progress_queries.last_points(session, [tuning_id]).get(tuning_id)
    return tuning_out(record, newest.values["eta_s"] if newest else None)


@router.get("/{tuning_id}/points", responses=problems.responses(NotFoundError))
def read_points(
    tuning_id: UUID,
    _access: ReadAccess,
    session: ReadSessionDep,
    after_step: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> TuningCurve:
    """Return the losses of a run, and what it had to tell."""
    tuning_queries.get_tuning(session, tuning_id)  # raises NotFoundError
    points = tuning_progress_queries.points_of(session, tuning_id, after_step=after_step)
    notices = tuning_progress_queries.notices_of(session, tuning_id)
    return TuningCurve(points=list(map(point_out, points)), notices=list(map(notice_out, notices)))


@router.post(
    "/{tuning_id}/cancel",
    responses=problems.responses(NotFoundError, ConflictError),
)
def cancel_tuning(tuning_id: UUID, state: StateDep, _access: AdminAccess) -> TuningOut:
    """Cancel a run: it stops after the step in progress, and nothing comes of it."""
    requesting.cancel_tuning(state.sessions, tuning_id)
    with state.reads() as session:
        return tuning_out(tuning_queries.get_tuning(session, tuning_id), None)


@router.get(
    "/{tuning_id}/events",
    response_class=Response,  # FastAPI would take this for a generator if it were the stream's
    responses={
        200: {"content": {EventSourceResponse.media_type: {}}},
        204: {"description": "The client has seen the end already."},
        **problems.responses(NotFoundError, UnavailableError),
    },
)
async def stream_tuning(
    tuning_id: UUID,
    state: StateDep,
    access: ReadAccess,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
    after_step: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Response:
    """Stream `progress`, `point` and `notice` as the run goes on, then `end` once."""
    first = await anyio.to_thread.run_sync(tuning_events.read_state, state.reads, tuning_id)
    teller = tuning_events.TuningTeller(last_event_id, after_step=after_step)
    if teller.has_told_all(first):
        return Response(status_code=HTTPStatus.NO_CONTENT)  # tells EventSource to stop
    state.feed.check_room(access.key_id)

    async def tell() -> AsyncIterator[bytes]:
        feed, owner = state.feed, access.key_id
        with feed.watch(tuning_events.TUNINGS, tuning_id, first, owner=owner) as watched:
            async for event in events.follow(watched, first, teller):
                yield event

    return EventSourceResponse(
        tell(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


def _look_ahead(state: State, request: TuningRequest) -> DryRunOut:
    prepared = requesting.look_ahead(state.reads, Registry(state.settings.data_dir), request)
    found = estimating.estimate(prepared, state.storage, state.settings)
    return DryRunOut(
        pairs=prepared.counts(),
        steps=found.steps,
        batch=found.batch,
        estimated_s=found.seconds,
        estimated_memory_bytes=found.memory_bytes,
        decode_s=found.decode_s,
        warnings=prepared.warnings(),
    )
