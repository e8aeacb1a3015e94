"""Use cases of activations: let a model take over, go back to the one before, cancel."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import activation_queries, evaluation_run_queries, model_queries
from service.catalog.activation_queries import ActivationRecord
from service.catalog.activation_tables import Activation, Trigger
from service.catalog.generation_queries import find_active_generation
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import Generation, GenerationState, ModelVersion
from service.errors import ConflictError
from service.jobs import JobSender, Task
from service.models import (
    MATCHER_ONLY,
    UNTRAINED,
    refuse_unsearchable,
    register,
    use_if_first,
)
from service.registry import Facts, Model, Registry

ROLLBACK_WINDOW_S = 7 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Requested:
    """The answer to a request to activate a model.

    Attributes:
        activation_id: follow it.
        job_id: its job.
        activation: its row.
        is_switched: the model is searched already: nothing had to be embedded.
    """

    activation_id: UUID
    job_id: UUID
    activation: Activation
    is_switched: bool


@dataclass(frozen=True, kw_only=True)
class Used:
    """What using a model changed.

    Attributes:
        was_active: it was searched already.
        requested: the activation, if videos must be embedded before it is searched; else it is
            searched now.
    """

    was_active: bool = False
    requested: Requested | None = None


def request_activation(
    sessions: Sessions,
    sender: JobSender,
    registry: Registry,
    *,
    model_version_id: UUID,
    trigger: Trigger,
    created_by: UUID | None = None,
    force: bool = False,
    rollback_window_s: float = ROLLBACK_WINDOW_S,
) -> Requested:
    """Let a model take over once every video is embedded by it; searches go on meanwhile.

    A model that was searched before and is still kept takes over at once, if it lacks nothing.

    Args:
        sessions: writing sessions.
        sender: wakes a worker.
        registry: the models of the data folder.
        model_version_id: which model.
        trigger: who wants it.
        created_by: the API key that asked.
        force: switch although the checks before it fail; they are reported all the same.
        rollback_window_s: how long the model before is kept.

    Raises:
        NotFoundError: there is no such model.
        ConflictError: it is active already, another activation is open, it cannot search, or its
            files are gone.
    """

    def work(session: Session) -> Requested:
        version = model_queries.get_version(session, model_version_id)
        _check_usable(version, registry)
        active, kept = _lock_for(session, version)
        activation, job = activation_queries.add_activation(
            session,
            model_version_id=version.id,
            kept=kept,
            active=active,
            trigger=trigger,
            created_by=created_by,
            is_forced=force,
        )
        is_switched = kept is not None and activation_queries.switch_now(
            session, activation, kept_for_s=rollback_window_s
        )
        return Requested(
            activation_id=activation.id,
            job_id=job.id,
            activation=activation,
            is_switched=is_switched,
        )

    requested = in_transaction(sessions, work)
    if requested.is_switched:
        send_runs(sessions, sender)
    else:
        sender.send(Task.ACTIVATE, requested.job_id)
    return requested


def use_model(
    sessions: Sessions,
    sender: JobSender,
    registry: Registry,
    *,
    model: Model,
    facts: Facts,
    force: bool = False,
    rollback_window_s: float = ROLLBACK_WINDOW_S,
) -> Used:
    """Search with a model of the registry: at once if nothing is embedded yet.

    Args:
        sessions: writing sessions.
        sender: wakes a worker.
        registry: the models of the data folder.
        model: which.
        facts: what its bundle is now, freshly loaded.
        force: see `request_activation`.
        rollback_window_s: how long the model before is kept.

    Raises:
        ConflictError: it cannot search, or another activation is open.
    """
    refuse_unsearchable(model, facts)
    with sessions() as session:
        active = find_active_generation(session)
    was_active = active is not None and active.bundle_digest == facts.digest
    if use_if_first(sessions, model, facts):
        return Used(was_active=was_active)
    requested = request_activation(
        sessions,
        sender,
        registry,
        model_version_id=register(sessions, model, facts).id,
        trigger=Trigger.COMMAND,
        force=force,
        rollback_window_s=rollback_window_s,
    )
    return Used(requested=requested)


def roll_back(
    sessions: Sessions,
    sender: JobSender,
    registry: Registry,
    *,
    trigger: Trigger,
    rollback_window_s: float = ROLLBACK_WINDOW_S,
) -> tuple[ModelVersion, Requested]:
    """Go back to the model that was searched before.

    Raises:
        ConflictError: none is kept any more, or another activation is open.
    """
    with sessions() as session:
        kept = model_queries.newest_kept(session)
        if kept is None:
            raise ConflictError(
                "No model is kept to go back to: its window is over, or no other one was ever "
                "searched. Activate one that is listed, which embeds the videos again.",
                reason="nothing_kept",
            )
        version = session.get_one(ModelVersion, kept.model_version_id)
    return version, request_activation(
        sessions,
        sender,
        registry,
        model_version_id=version.id,
        trigger=trigger,
        rollback_window_s=rollback_window_s,
    )


def send_runs(sessions: Sessions, sender: JobSender) -> None:
    """Wake workers for the runs that a switch has queued; else the sweep does it, later."""
    with sessions() as session:
        waiting = evaluation_run_queries.unsent_runs(session)
    for job_id in waiting:
        sender.send(Task.EVALUATE, job_id)


def cancel(sessions: Sessions, activation_id: UUID) -> ActivationRecord:
    """End an activation before it has switched; what was searched goes on.

    Raises:
        NotFoundError: there is no such activation.
        ConflictError: it is over.
    """

    def work(session: Session) -> ActivationRecord:
        activation_queries.cancel_activation(session, activation_id)
        session.expire_all()
        return activation_queries.get_activation(session, activation_id)

    return in_transaction(sessions, work)


def _check_usable(version: ModelVersion, registry: Registry) -> None:
    can_search = version.spec.get("has_retriever", True)
    if not can_search:
        reason = MATCHER_ONLY if version.spec.get("has_matcher", False) else UNTRAINED
        raise ConflictError(reason.format(name=version.name), reason="cannot_search")
    if registry.locate(digest=version.bundle_digest, registered=version.bundle_path) is None:
        raise ConflictError(
            f"The files of the model {version.name!r} are not on this machine any more.",
            reason="model_gone",
        )


def _lock_for(
    session: Session, version: ModelVersion
) -> tuple[Generation | None, Generation | None]:
    """Lock all generations; return the one that is searched, and the version's if one is kept.

    Raises:
        ConflictError: the version is what is searched, or another activation is open.
    """
    generations = activation_queries.lock_generations(session)
    active = _first(generations, GenerationState.ACTIVE)
    if active is not None and active.model_version_id == version.id:
        raise ConflictError(
            f"{version.name!r} is what is searched already.", reason="already_active"
        )
    activation_queries.refuse_if_running(session)
    return active, _first(generations, GenerationState.KEPT, of=version)


def _first(
    generations: Sequence[Generation], state: GenerationState, *, of: ModelVersion | None = None
) -> Generation | None:
    found = (
        one
        for one in generations
        if one.state is state and (of is None or one.model_version_id == of.id)
    )
    return next(found, None)
