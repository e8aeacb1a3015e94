"""Health, readiness, figures, and what a client must know of this installation."""

from importlib.metadata import version
from typing import Any, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from service.access import Scope
from service.api import problems
from service.api.deps import COOKIE, MediaAccess, ReadSessionDep, Require, StateDep, get_principal
from service.api.hosts import is_loopback
from service.api.state import State
from service.catalog import change_queries, generation_queries, status_queries
from service.errors import ForbiddenError, ServiceError, UnauthenticatedError, UnavailableError
from service.index.figures import IndexFigures
from service.models import is_anything_embedded, notice_of
from service.observing.installation import read_installation
from service.observing.readings import Readings

router = APIRouter(tags=["system"])
log = structlog.get_logger(__name__)


class HealthOut(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ModelOut(BaseModel):
    """The model that answers."""

    model_version_id: UUID
    generation_id: UUID
    name: str
    bundle_digest: str
    spec: dict[str, Any]


class ReplicaOut(BaseModel):
    """Where this process's index stands."""

    is_ready: bool
    applied_seq: int | None
    lag: int | None
    index: IndexFigures | None = Field(
        None, description="What answers searches; null while nothing does."
    )


class LimitsOut(BaseModel):
    """What a client should keep to."""

    upload_limit_bytes: int
    video_limit_s: float
    video_limit_pixels: int


class SystemOut(BaseModel):
    """This installation."""

    version: str
    model: ModelOut | None
    replica: ReplicaOut
    videos: dict[str, int]
    jobs: dict[str, int]
    segments: int
    stored_bytes: int
    disk_free_bytes: int
    limits: LimitsOut
    notice: str | None = Field(
        None, description="That another model is configured than the one that is searched."
    )


@router.get("/healthz")
async def read_health() -> HealthOut:
    """Answer as long as the process lives."""
    return HealthOut()


@router.get("/readyz", responses=problems.responses(UnavailableError))
def read_readiness(state: StateDep, session: ReadSessionDep) -> HealthOut:
    """Answer 200 when searches would be answered: database, model and index are there."""
    state.drain.check()
    status_queries.ping(session)
    state.search_parts.get()
    return HealthOut()


def require_metrics_access(request: Request, state: StateDep) -> None:
    """Let Prometheus in without a key when only programs of this machine can ask."""
    if not is_loopback(state.settings.host):
        principal = get_principal(request, state, None, request.cookies.get(COOKIE))
        Require(Scope.READ).check(principal)


@router.get(
    "/metrics",
    dependencies=[Depends(require_metrics_access)],
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}},
        **problems.responses(UnauthenticatedError, ForbiddenError),
    },
)
def read_metrics(state: StateDep) -> Response:
    """Return figures for Prometheus; off loopback this needs the scope read."""
    return Response(state.metrics.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/system", responses=problems.responses(UnauthenticatedError, ForbiddenError))
def read_system(state: StateDep, _access: MediaAccess, session: ReadSessionDep) -> SystemOut:
    """Return versions, counts and limits."""
    counts = status_queries.count_everything(session)
    active = generation_queries.find_active_generation(session)
    settings = state.settings
    return SystemOut(
        version=version("reelseek"),
        model=ModelOut.model_validate(active, from_attributes=True) if active else None,
        replica=_replica_out(state, session),
        videos=counts.videos,
        jobs=counts.jobs,
        segments=counts.segments,
        stored_bytes=counts.blob_bytes,
        disk_free_bytes=state.storage.free_bytes(),
        limits=LimitsOut(
            upload_limit_bytes=settings.upload_limit_bytes,
            video_limit_s=settings.video_limit_s,
            video_limit_pixels=settings.video_limit_pixels,
        ),
        notice=notice_of(active, settings.bundle)
        if active and is_anything_embedded(session)
        else None,
    )


def read_figures(state: State) -> Readings:
    """Read what Prometheus is told of the database, the disk and the replica."""
    readings = _read_process(state)
    try:
        with state.reads() as session:
            readings.update(read_installation(session))
            readings["reelseek_replica_lag_changes"] = _replica_out(state, session).lag or 0.0
    except (ServiceError, SQLAlchemyError) as error:  # alarms live on what is left
        log.warning("figures_not_read", error=str(getattr(error, "orig", None) or error))
        if isinstance(error, OperationalError):  # no search is answered without a database
            readings["reelseek_replica_ready"] = 0.0
    return readings


def _read_process(state: State) -> Readings:
    """Read what this process knows by itself."""
    replica = state.search_parts.replica
    readings = Readings(
        reelseek_disk_free_bytes=state.storage.free_bytes(),
        reelseek_replica_ready=float(replica is not None and replica.is_ready),
        reelseek_replica_lag_seconds=replica.lag_s if replica else 0.0,
        reelseek_event_streams=state.feed.num_streams,
    )
    index = replica.figures if replica else None
    if index is not None:
        readings["reelseek_index_segments"] = index.num_segments or 0
        if index.recall is not None:
            readings["reelseek_index_recall"] = index.recall
    return readings


def describe_replica(state: State) -> dict[str, Any]:
    """Return how far this process's replica is, for its row among the processes."""
    replica = state.search_parts.replica
    if replica is None:
        return {"is_ready": False}
    return {
        "is_ready": replica.is_ready,
        "applied_seq": replica.applied_seq,
        "lag_s": round(replica.lag_s, 1),
        "failure": replica.failure,
    }


def _replica_out(state: State, session: Session) -> ReplicaOut:
    replica = state.search_parts.replica
    if replica is None:
        return ReplicaOut(is_ready=False, applied_seq=None, lag=None)
    applied_seq = replica.applied_seq
    newest_seq = change_queries.read_counter(session).seq
    return ReplicaOut(
        is_ready=replica.is_ready,
        applied_seq=applied_seq,
        lag=max(0, newest_seq - applied_seq),
        index=replica.figures,
    )
