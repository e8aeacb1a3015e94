"""/v1/activations: how far a model is on its way to take over, and cancel it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from service import activations
from service.api import problems
from service.api.deps import AdminAccess, ReadAccess, ReadSessionDep, StateDep
from service.api.model_schemas import ActivationLinks, ActivationList, ActivationOut
from service.catalog import activation_queries
from service.catalog.activation_queries import ActivationRecord
from service.catalog.tables import JobState
from service.errors import ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError

router = APIRouter(
    prefix="/v1/activations",
    tags=["models"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError),
)

SHOWN = ("is_forced", "embedding", "canary", "shadow", "warming")


@router.get("")
def list_activations(
    session: ReadSessionDep,
    _access: ReadAccess,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ActivationList:
    """Return activations, newest first."""
    found = activation_queries.newest_activations(session, limit=limit)
    return ActivationList(activations=[activation_out(one) for one in found])


@router.get("/{activation_id}", responses=problems.responses(NotFoundError))
def read_activation(
    activation_id: UUID, session: ReadSessionDep, _access: ReadAccess
) -> ActivationOut:
    """Return an activation: how far it is, and what its checks found."""
    return activation_out(activation_queries.get_activation(session, activation_id))


@router.post("/{activation_id}/cancel", responses=problems.responses(NotFoundError, ConflictError))
def cancel_activation(activation_id: UUID, state: StateDep, _access: AdminAccess) -> ActivationOut:
    """End an activation before it has switched; what is searched stays what it is."""
    return activation_out(activations.cancel(state.sessions, activation_id))


def activation_out(record: ActivationRecord) -> ActivationOut:
    """Describe an activation for clients."""
    activation, job = record.activation, record.job
    report = activation.report or {}
    is_open = job.state in (JobState.QUEUED, JobState.RUNNING)
    return ActivationOut(
        id=activation.id,
        job_id=job.id,
        model_id=record.model.id,
        model_name=record.model.name,
        generation_id=activation.generation_id,
        from_generation_id=activation.from_generation_id,
        trigger=activation.trigger,
        state=job.state,
        stage=job.stage if is_open else None,
        percent=100.0 if job.state is JobState.DONE else round(100 * job.progress, 1),
        eta_s=report.get("embedding", {}).get("eta_s") if is_open else None,
        reason=job.reason,
        detail=job.detail,
        report={name: report[name] for name in SHOWN if name in report},
        created_at=activation.created_at,
        switched_at=activation.switched_at,
        links=links_of(activation.id, job.id),
    )


def links_of(activation_id: UUID, job_id: UUID) -> ActivationLinks:
    """Return where to look next."""
    here = f"/v1/activations/{activation_id}"
    return ActivationLinks(
        self=here,
        job=f"/v1/jobs/{job_id}",
        events=f"/v1/jobs/{job_id}/events",
        cancel=f"{here}/cancel",
    )
