"""/v1/models: which models there are, and let one take over."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from service import activations
from service.access import Principal
from service.api import problems
from service.api.activations import links_of
from service.api.deps import AdminAccess, ReadAccess, StateDep
from service.api.model_schemas import (
    ActivateIn,
    ActivateOut,
    OriginOut,
    ReportSummary,
    VersionList,
    VersionOut,
    VersionState,
)
from service.api.once import ONCE
from service.catalog.activation_tables import Trigger
from service.catalog.tables import GenerationState
from service.errors import ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError
from service.models import KnownModel, list_models, sync_versions
from service.registry import Registry

router = APIRouter(
    prefix="/v1/models",
    tags=["models"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError),
)

STATES: Mapping[GenerationState, VersionState] = {
    GenerationState.ACTIVE: "active",
    GenerationState.BUILDING: "building",
    GenerationState.KEPT: "kept",
}


@router.get("")
def read_models(state: StateDep, _access: ReadAccess) -> VersionList:
    """Return all models that can be used, or are in use."""
    registry = Registry(state.settings.data_dir)
    known = list_models(state.sessions, registry, reads=state.reads)
    return VersionList(models=[_version_out(one) for one in known])


@router.post(
    "/{model_id}/activate",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[ONCE],
    responses=problems.responses(NotFoundError, ConflictError),
)
def activate_model(
    model_id: UUID,
    response: Response,
    state: StateDep,
    principal: AdminAccess,
    body: ActivateIn | None = None,
) -> ActivateOut:
    """Let a model take over, once every video is embedded by it; searches go on meanwhile.

    One that is kept takes over at once. Follow the activation, or its job, to see how far it is.
    """
    registry = Registry(state.settings.data_dir)
    sync_versions(state.sessions, registry, reads=state.reads)
    requested = activations.request_activation(
        state.sessions,
        state.sender,
        registry,
        model_version_id=model_id,
        trigger=Trigger.PERSON,
        created_by=_key_of(principal),
        force=body is not None and body.force,
        rollback_window_s=state.settings.rollback_window_s,
    )
    links = links_of(requested.activation_id, requested.job_id)
    response.headers["Location"] = links.self
    return ActivateOut(
        activation_id=requested.activation_id,
        job_id=requested.job_id,
        is_switched=requested.is_switched,
        links=links,
    )


def _version_out(known: KnownModel) -> VersionOut:
    record = known.record
    version, generation, tuning = record.version, record.generation, record.tuning
    kind = "tuning" if tuning else "bundled" if known.is_bundled else "added"
    state: VersionState = "candidate" if tuning else "available"
    return VersionOut(
        id=version.id,
        name=version.name,
        state=STATES[generation.state] if generation else state,
        origin=OriginOut(kind=kind, tuning_id=tuning.id if tuning else None),
        abilities=_abilities(version.spec),
        digest=version.bundle_digest,
        size_bytes=known.size_bytes,
        created_at=version.created_at,
        generation_id=generation.id if generation else None,
        kept_until=generation.kept_until if generation else None,
        num_videos_embedded=record.num_videos,
        report_summary=_summary(tuning.report) if tuning else None,
    )


def _abilities(spec: Mapping[str, Any]) -> list[str]:
    known = {"search": "has_retriever", "rerank": "has_matcher"}
    return [ability for ability, name in known.items() if spec.get(name, False)]


def _summary(report: Mapping[str, Any] | None) -> ReportSummary | None:
    if report is None:
        return None
    return ReportSummary(verdict=report.get("verdict"), why=report.get("why"))


def _key_of(principal: Principal) -> UUID | None:
    """Return the id of the key; the one of the settings has none."""
    try:
        return UUID(principal.key_id)
    except ValueError:
        return None
