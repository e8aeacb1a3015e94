"""/v1/evaluation-sets and /v1/evaluation-runs: queries with known answers, and how searches did."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from service import evaluations
from service.access import Principal
from service.api import problems
from service.api.deps import ReadAccess, ReadSessionDep, StateDep, WriteAccess
from service.api.evaluation_schemas import (
    AnswerRankOut,
    EvaluationRunDetail,
    EvaluationRunLinks,
    EvaluationRunOut,
    EvaluationRunPage,
    EvaluationSetDetail,
    EvaluationSetIn,
    EvaluationSetLinks,
    EvaluationSetList,
    EvaluationSetOut,
    QueryAnswerOut,
    QueryOut,
    RequestedRun,
    SetName,
)
from service.api.once import ONCE
from service.catalog import evaluation_queries, evaluation_run_queries
from service.catalog.evaluation_queries import SetRecord
from service.catalog.evaluation_run_queries import RunRecord
from service.catalog.session import in_transaction
from service.catalog.tables import JobState
from service.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    UnauthenticatedError,
)
from service.evaluations import Entry, FileFormat

router = APIRouter(
    prefix="/v1",
    tags=["evaluation"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, InvalidInputError),
)

FILE_SCHEMA = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}


@router.post(
    "/evaluation-sets",
    status_code=HTTPStatus.CREATED,
    dependencies=[ONCE],
    responses=problems.responses(PayloadTooLargeError),
)
def create_set(
    body: EvaluationSetIn, response: Response, state: StateDep, principal: WriteAccess
) -> EvaluationSetOut:
    """Keep a list of queries; if there is one by this name, it is the next version of it."""
    entries = [
        Entry(
            place=f"queries.{number}",
            text=query.text,
            video=str(query.video_id),
            start_s=query.start_s,
            end_s=query.end_s,
        )
        for number, query in enumerate(body.queries)
    ]
    record = evaluations.create_set(
        state.sessions, name=body.name, entries=entries, created_by=_key_of(principal)
    )
    return _created(record, response)


@router.post(
    "/evaluation-sets/import",
    status_code=HTTPStatus.CREATED,
    dependencies=[ONCE],
    responses=problems.responses(PayloadTooLargeError),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"text/csv": FILE_SCHEMA, "application/jsonl": FILE_SCHEMA},
        }
    },
)
async def import_set(
    *,
    request: Request,
    response: Response,
    state: StateDep,
    principal: WriteAccess,
    name: Annotated[SetName, Query()],
    file_format: Annotated[FileFormat, Query(alias="format")],
) -> EvaluationSetOut:
    """Keep the queries of a file: the body, CSV or JSON Lines with text, video, start_s, end_s.

    `video` is the id, the file name or the title of a video.
    """
    content = await request.body()

    def keep() -> SetRecord:
        entries = evaluations.read_entries(content, file_format)
        return evaluations.create_set(
            state.sessions, name=name, entries=entries, created_by=_key_of(principal)
        )

    return _created(await anyio.to_thread.run_sync(keep), response)


@router.get("/evaluation-sets")
def list_sets(
    session: ReadSessionDep,
    _access: ReadAccess,
    all_versions: bool = False,  # noqa: FBT001, FBT002 (a query parameter)
) -> EvaluationSetList:
    """Return the sets by name: the newest version of each, or all."""
    records = evaluation_queries.list_sets(session, all_versions=all_versions)
    results = evaluation_run_queries.latest_results(
        session, [record.evaluation_set.id for record in records]
    )
    return EvaluationSetList(
        sets=[_set_out(record, results.get(record.evaluation_set.id)) for record in records]
    )


@router.get("/evaluation-sets/{set_id}", responses=problems.responses(NotFoundError))
def read_set(set_id: UUID, session: ReadSessionDep, _access: ReadAccess) -> EvaluationSetDetail:
    """Return one version of a set, with its queries."""
    record = evaluation_queries.get_set(session, set_id)
    results = evaluation_run_queries.latest_results(session, [set_id])
    queries = [
        QueryOut.model_validate(query, from_attributes=True)
        for query in evaluation_queries.queries_of(session, set_id)
    ]
    return EvaluationSetDetail(**dict(_set_out(record, results.get(set_id))), queries=queries)


@router.delete(
    "/evaluation-sets/{set_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems.responses(NotFoundError),
)
def delete_set(set_id: UUID, state: StateDep, _access: WriteAccess) -> None:
    """Remove a set: all of its versions, and their history."""
    in_transaction(
        state.sessions, lambda session: evaluation_run_queries.delete_set(session, set_id)
    )


@router.post(
    "/evaluation-sets/{set_id}/runs",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[ONCE],
    responses=problems.responses(NotFoundError),
)
def request_run(
    set_id: UUID, response: Response, state: StateDep, principal: WriteAccess
) -> RequestedRun:
    """Measure what is searched now; a run of the set that waits already is this one."""
    record = evaluations.request_run(
        state.sessions, state.sender, set_id, created_by=_key_of(principal)
    )
    links = _run_links(record)
    response.headers["Location"] = links.self
    return RequestedRun(id=record.run.id, job_id=record.job.id, links=links)


@router.get("/evaluation-sets/{set_id}/runs", responses=problems.responses(NotFoundError))
def list_runs(
    set_id: UUID,
    session: ReadSessionDep,
    _access: ReadAccess,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EvaluationRunPage:
    """Return the history of one version of a set, newest first."""
    evaluation_queries.get_set(session, set_id)  # raises NotFoundError
    records = evaluation_run_queries.runs_of(session, set_id, limit=limit)
    return EvaluationRunPage(runs=[_run_out(record) for record in records])


@router.get("/evaluation-runs/{run_id}", responses=problems.responses(NotFoundError))
def read_run(run_id: UUID, session: ReadSessionDep, _access: ReadAccess) -> EvaluationRunDetail:
    """Return a run, with the place of the right answer to each query when it is done."""
    record = evaluation_run_queries.get_run(session, run_id)
    kept = record.run.answers
    answers = None
    if kept is not None:
        answers = [
            QueryAnswerOut(
                text=one["text"],
                video_id=one["video_id"],
                moments=one["moments"],
                dual_stream=AnswerRankOut(**one["dual_stream"]),
                reranked=AnswerRankOut(**one["reranked"]) if one["reranked"] else None,
            )
            for one in kept["queries"]
        ]
    return EvaluationRunDetail(**dict(_run_out(record)), answers=answers)


def _created(record: SetRecord, response: Response) -> EvaluationSetOut:
    made = _set_out(record, None)
    response.headers["Location"] = made.links.self
    return made


def _key_of(principal: Principal) -> UUID | None:
    """Return the API key that asks; the key of the settings and browsers have no row."""
    try:
        return UUID(principal.key_id)
    except ValueError:
        return None


def _set_out(record: SetRecord, last_run: RunRecord | None) -> EvaluationSetOut:
    found = record.evaluation_set
    own = f"/v1/evaluation-sets/{found.id}"
    return EvaluationSetOut(
        id=found.id,
        name=found.name,
        version=found.version,
        is_newest=record.is_newest,
        num_queries=record.num_queries,
        num_gone=record.num_gone,
        created_at=found.created_at,
        last_run=_run_out(last_run) if last_run else None,
        links=EvaluationSetLinks(self=own, runs=f"{own}/runs"),
    )


def _run_links(record: RunRecord) -> EvaluationRunLinks:
    job = f"/v1/jobs/{record.job.id}"
    return EvaluationRunLinks(
        self=f"/v1/evaluation-runs/{record.run.id}", job=job, events=f"{job}/events"
    )


def _run_out(record: RunRecord) -> EvaluationRunOut:
    run, job = record.run, record.job
    return EvaluationRunOut(
        id=run.id,
        job_id=job.id,
        set_id=run.set_id,
        set_name=record.evaluation_set.name,
        set_version=record.evaluation_set.version,
        state=job.state,
        stage=job.stage,
        percent=100.0 if job.state is JobState.DONE else round(100 * job.progress, 1),
        reason=job.reason,
        detail=job.detail,
        trigger=run.trigger,
        generation_id=run.generation_id,
        model_id=run.model_version_id,
        model_name=record.model_name,
        figures=run.figures,
        created_at=run.created_at,
        finished_at=job.finished_at,
        links=_run_links(record),
    )
