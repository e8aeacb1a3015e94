"""Use cases of models: which one is searched, and how another one takes over."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog.generation_queries import (
    ActiveGeneration,
    count_embedded_videos,
    ensure_active_generation,
    find_active_generation,
    switch_generation,
)
from service.catalog.session import Sessions, in_transaction
from service.errors import ConflictError
from service.jobs import JobSender, Task
from service.registry import BUNDLED_PATH, Facts, Model, Registry

UNTRAINED = (
    "The model {name!r} was never trained to find or to match anything: train it with "
    "`reelseek train --from {name}` first."
)
MATCHER_ONLY = (
    "The model {name!r} is a matcher only: it re-ranks, but has no embeddings to find anything by. "
    "Train its projections with `reelseek train --from {name}`, or put it behind an image-text "
    "model with `reelseek models add HUB_NAME_OR_FOLDER --matcher {name}`."
)


@dataclass(frozen=True, kw_only=True)
class Used:
    """What using a model changed.

    Attributes:
        was_active: it was searched already.
        num_queued: videos that wait to be embedded with it.
    """

    was_active: bool
    num_queued: int


def use_model(
    sessions: Sessions, sender: JobSender, model: Model, facts: Facts, *, reembed: bool
) -> Used:
    """Search with a model from now on; a running service follows by itself.

    Args:
        sessions: writing sessions.
        sender: wakes workers.
        model: which.
        facts: what its bundle is now, freshly loaded.
        reembed: whether videos that were embedded by another model are embedded again. Until it
            is done, each is not found.

    Raises:
        ConflictError: it cannot search, or videos were embedded by another model.
    """
    if not facts.can_search:
        raise ConflictError(why_not(model), reason="cannot_search")

    told: dict[str, Any] = {
        "name": model.name,
        "digest": facts.digest,
        "path": str(model.path),
        "spec": facts.spec,
    }

    def work(session: Session) -> tuple[bool, list[UUID]]:
        active = find_active_generation(session)
        if active is None or active.bundle_digest == facts.digest:
            ensure_active_generation(session, **told)
            return active is not None, []
        num_embedded = count_embedded_videos(session, active.generation_id)
        if not num_embedded:
            ensure_active_generation(session, **told)
            return False, []
        if not reembed:
            raise ConflictError(
                f"{num_embedded} videos were embedded by the model {active.name!r}, and those "
                f"embeddings mean nothing to {model.name!r}. `reelseek models use {model.name} "
                "--reembed` embeds them again; until its turn comes, a video is not found.",
                reason="other_bundle",
            )
        return False, switch_generation(session, active, **told)

    was_active, job_ids = in_transaction(sessions, work)
    for job_id in job_ids:
        sender.send(Task.INGEST_VIDEO, job_id)
    return Used(was_active=was_active, num_queued=len(job_ids))


def why_not(model: Model) -> str:
    """Say why a model cannot be searched with, and what to do."""
    return (MATCHER_ONLY if model.facts.can_match else UNTRAINED).format(name=model.name)


def find_bundle(
    active: ActiveGeneration | None, registry: Registry, configured: Path | None
) -> Path:
    """Return the bundle folder to start with.

    Args:
        active: what is searched, if anything was ever registered.
        registry: the models of this data folder.
        configured: the folder that the settings name, if they do.

    Returns:
        The configured one; else that of the active generation, wherever it lies now; else the one
        that comes along.
    """
    if configured is not None:
        return configured
    found = active and registry.locate(digest=active.bundle_digest, registered=active.bundle_path)
    return found or BUNDLED_PATH


def is_anything_embedded(session: Session) -> bool:
    """Tell whether videos were embedded by the model that is searched."""
    active = find_active_generation(session)
    return active is not None and count_embedded_videos(session, active.generation_id) > 0
