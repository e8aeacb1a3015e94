"""GET /v1/system/replica: what the index of this process holds, for audits."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api import problems
from service.api.deps import AdminAccess, StateDep
from service.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from service.index.content import content_of

router = APIRouter(tags=["system"])


class ContentOut(BaseModel):
    """What can be found in one generation."""

    generation_id: UUID
    epoch: str
    seq: int = Field(description="Number of the last change that is contained.")
    num_segments: int
    keys_digest: str = Field(description="SHA-256 over (video, version, ordinal) of each segment.")
    vectors_digest: str | None = Field(
        description="SHA-256 over their embeddings; null where the index keeps them roughly."
    )


class ReplicaContentOut(BaseModel):
    """What the index of the process that answers holds."""

    generations: list[ContentOut]


@router.get(
    "/v1/system/replica",
    responses=problems.responses(UnauthenticatedError, ForbiddenError, UnavailableError),
)
def read_replica(state: StateDep, _access: AdminAccess) -> ReplicaContentOut:
    """Describe everything that this process would find, for `reelseek audit --replica`.

    It reads the whole index, which takes a moment where that is large.
    """
    replica = state.search_parts.get()
    views = [replica.serving(generation_id=one).view for one in sorted(replica.generation_ids)]
    return ReplicaContentOut(
        generations=[ContentOut(**content_of(view)._asdict()) for view in views]
    )
