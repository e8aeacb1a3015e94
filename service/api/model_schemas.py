"""What /v1/models and /v1/activations read and answer."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from service.api.schemas import Body
from service.catalog.activation_tables import Trigger
from service.catalog.tables import JobState

VersionState = Literal["active", "building", "kept", "candidate", "available"]


class OriginOut(BaseModel):
    """Where a model came from."""

    kind: Literal["bundled", "added", "tuning"]
    tuning_id: UUID | None = None


class ReportSummary(BaseModel):
    """What its tuning run came to."""

    verdict: str | None = None
    why: str | None = None


class VersionOut(BaseModel):
    """A model that can be used, or is in use."""

    id: UUID
    name: str
    state: VersionState = Field(
        description="`active`: it is searched. `building`: it is to take over. `kept`: it was "
        "searched, and going back is instant. `candidate`: a tuning run made it. `available`: all "
        "others."
    )
    origin: OriginOut
    abilities: list[str] = Field(description="`search`, `rerank`.")
    digest: str
    size_bytes: int
    created_at: datetime
    generation_id: UUID | None
    kept_until: datetime | None
    num_videos_embedded: int
    report_summary: ReportSummary | None


class VersionList(BaseModel):
    """All models, the oldest first."""

    models: list[VersionOut]


class ActivateIn(Body):
    """How to activate a model."""

    force: bool = Field(
        False,  # noqa: FBT003 (pydantic's way to give a default)
        description="Switch although the canary check fails; what it found is reported.",
    )


class ActivationLinks(BaseModel):
    """Where to look next."""

    self: str
    job: str
    events: str
    cancel: str


class ActivateOut(BaseModel):
    """The answer to a request to activate a model."""

    activation_id: UUID
    job_id: UUID
    is_switched: bool = Field(description="It is searched already: nothing had to be embedded.")
    links: ActivationLinks


class ActivationOut(BaseModel):
    """One model taking over from another."""

    id: UUID
    job_id: UUID
    model_id: UUID
    model_name: str
    generation_id: UUID
    from_generation_id: UUID | None
    trigger: Trigger
    state: JobState
    stage: str | None = Field(
        description="`embedding`, `checking`, `warming` (API processes load it), `switching`."
    )
    percent: float
    eta_s: float | None = Field(description="Seconds until every video is embedded, if known.")
    reason: str | None
    detail: str | None
    report: dict[str, Any] = Field(
        description="`embedding`, `canary`, `shadow` and `warming`, as far as they are known."
    )
    created_at: datetime
    switched_at: datetime | None
    links: ActivationLinks


class ActivationList(BaseModel):
    """Activations, newest first."""

    activations: list[ActivationOut]
