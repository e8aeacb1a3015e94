"""/v1/imports: videos that are fetched from elsewhere."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from service.access import Scope
from service.api import problems
from service.api.deps import ReadAccess, ReadSessionDep, StateDep, WriteAccess
from service.api.import_schemas import (
    ImportIn,
    ImportItemOut,
    ImportItemPage,
    ImportLinks,
    ImportList,
    ImportOut,
    ItemCounts,
)
from service.api.once import ONCE
from service.api.schemas import INTEGER_LIMIT, Cursor
from service.catalog import import_queries
from service.catalog.import_progress import without_query
from service.catalog.import_queries import ImportRecord
from service.catalog.import_tables import ImportItem, ImportKind, ItemState
from service.catalog.tables import JobState
from service.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from service.imports import requesting
from service.imports.requesting import Address, Bucket, Wanted

router = APIRouter(
    prefix="/v1/imports",
    tags=["imports"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, InvalidInputError),
)


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[ONCE],
    responses=problems.responses(ConflictError, UnavailableError),
)
def create_import(
    body: ImportIn, response: Response, state: StateDep, principal: WriteAccess
) -> ImportOut:
    """Fetch videos by their addresses, from a folder of the server, or from a bucket.

    A bucket needs the scope `admin`: it is read with the keys of the settings.
    """
    if body.bucket is not None:
        principal.require(Scope.ADMIN)
    wanted = Wanted(
        addresses=[
            Address(url=one.url, title=one.title, tags=one.tags, fields=one.fields)
            for one in body.urls or []
        ],
        folder=body.folder,
        bucket=_bucket_of(body),
        tags=body.tags,
    )
    record = requesting.request_import(
        state.sessions, state.sender, state.settings, wanted, owner=principal.key_id
    )
    made = _import_out(record)
    response.headers["Location"] = made.links.self
    return made


@router.get("", responses=problems.responses(BadRequestError))
def list_imports(
    state: StateDep,
    session: ReadSessionDep,
    _access: ReadAccess,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
) -> ImportList:
    """Return imports, newest first."""
    page = requesting.list_imports(session, secret=state.cursor_key, limit=limit, cursor=cursor)
    return ImportList(
        imports=[_import_out(record) for record in page.imports], next_cursor=page.next_cursor
    )


@router.get("/{import_id}", responses=problems.responses(NotFoundError))
def read_import(import_id: UUID, session: ReadSessionDep, _access: ReadAccess) -> ImportOut:
    """Return an import: how far it is, and how many of its items were taken."""
    return _import_out(import_queries.get_import(session, import_id))


@router.get("/{import_id}/items", responses=problems.responses(NotFoundError))
def list_items(
    *,
    import_id: UUID,
    session: ReadSessionDep,
    _access: ReadAccess,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int, Query(ge=-1, lt=INTEGER_LIMIT // 2**32)] = -1,
    item_state: Annotated[ItemState | None, Query(alias="state")] = None,
) -> ImportItemPage:
    """Return what became of the files of an import, in their order."""
    record = import_queries.get_import(session, import_id)
    page = requesting.list_items(session, import_id, after=after, limit=limit, state=item_state)
    kind = record.request.kind
    return ImportItemPage(
        items=[_item_out(item, kind) for item in page.items], next_after=page.next_after
    )


@router.post("/{import_id}/cancel", responses=problems.responses(NotFoundError, ConflictError))
def cancel_import(import_id: UUID, state: StateDep, _access: WriteAccess) -> ImportOut:
    """End an import; the videos that it has brought stay."""
    return _import_out(requesting.cancel_import(state.sessions, import_id))


def _bucket_of(body: ImportIn) -> Bucket | None:
    asked = body.bucket
    return None if asked is None else Bucket(url=asked.url, endpoint=asked.endpoint)


def _import_out(record: ImportRecord) -> ImportOut:
    request, job = record.request, record.job
    here, of_job = f"/v1/imports/{request.id}", f"/v1/jobs/{job.id}"
    bucket = request.request.get("bucket")
    is_open = job.state in (JobState.QUEUED, JobState.RUNNING)
    return ImportOut(
        id=request.id,
        job_id=job.id,
        kind=request.kind,
        folder=request.request.get("folder"),
        bucket=f"s3://{bucket['bucket']}/{bucket['prefix']}" if bucket else None,
        state=job.state,
        stage=job.stage if is_open else None,
        percent=100.0 if job.state is JobState.DONE else round(100 * job.progress, 1),
        is_listed=request.is_listed,
        items=ItemCounts(**{str(state): number for state, number in record.counts.items()}),
        reason=job.reason,
        detail=job.detail,
        created_at=request.created_at,
        finished_at=job.finished_at,
        links=ImportLinks(
            self=here, job=of_job, events=f"{of_job}/events", cancel=f"{here}/cancel"
        ),
    )


def _item_out(item: ImportItem, kind: ImportKind) -> ImportItemOut:
    is_address = kind is ImportKind.URLS
    return ImportItemOut(
        ordinal=item.ordinal,
        source=without_query(item.source) if is_address else item.source,
        state=item.state,
        size_bytes=item.size_bytes,
        video_id=item.video_id,
        reason=item.reason,
        detail=item.detail,
    )
