"""What clients send and get: JSON bodies shared by the routes, with a bound on everything."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from service.catalog.tables import JobKind, JobState, VideoState
from service.cursors import MAX_CURSOR
from service.search.moments import Confidence
from service.search.request import MAX_TEXT_CHARS

NUM_TAGS = 50
NUM_FILTER_IDS = 1000
INTEGER_LIMIT = 2**63


def storable(text: str) -> str:
    """Refuse what PostgreSQL and UTF-8 cannot hold: NUL and lone surrogates."""
    if "\x00" in text:
        raise ValueError("must not contain the character NUL")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be valid Unicode, without lone surrogates")
    return text


def _unique(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Storable = AfterValidator(storable)
Tag = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Storable
]
Tags = Annotated[list[Tag], Field(max_length=NUM_TAGS), AfterValidator(_unique)]
SearchText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARS)]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CURSOR), Storable]
Seconds = Annotated[float, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=0, lt=INTEGER_LIMIT)]


class Body(BaseModel):
    """What a client sends: unknown fields and non-finite numbers are mistakes."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class MetadataPatch(Body):
    """What is to change; what is left out or null stays. `service.metadata` has the bounds."""

    title: str | None = None
    tags: list[str] | None = None
    fields: dict[str, Any] | None = None


class VideoLinks(BaseModel):
    """Where the parts of a video are."""

    self: str
    content: str
    thumbnail: str | None = None


class VideoOut(BaseModel):
    """One video."""

    id: UUID
    title: str
    file_name: str
    tags: list[str]
    fields: dict[str, Any]
    state: VideoState
    reason: str | None = Field(description="Why it failed or is partial: a code.")
    detail: str | None = Field(description="The same as a sentence.")
    percent: float | None = Field(description="How far its ingest is, 0 to 100.")
    job_id: UUID | None
    duration_s: float | None
    width: int | None
    height: int | None
    codec: str | None
    container: str | None
    frame_rate: float | None
    num_segments: int
    decode_report: dict[str, Any] | None
    size_bytes: int
    sha256: str
    created_at: datetime
    updated_at: datetime
    version: int
    links: VideoLinks


class VideoPage(BaseModel):
    """Some videos, newest first."""

    videos: list[VideoOut]
    next_cursor: str | None


class UploadLinks(BaseModel):
    """Where to look next."""

    self: str
    job: str
    events: str


class UploadOut(BaseModel):
    """An upload that was taken, or that was here already."""

    id: UUID
    job_id: UUID
    is_duplicate: bool
    state: VideoState
    links: UploadLinks


class SegmentOut(BaseModel):
    """One indexed span of a video."""

    ordinal: int
    start_s: float
    end_s: float
    thumbnail_url: str


class SegmentList(BaseModel):
    """All indexed spans of a video, in order."""

    segments: list[SegmentOut]


class JobOut(BaseModel):
    """One job."""

    id: UUID
    kind: JobKind
    state: JobState
    percent: float
    stage: str | None
    reason: str | None
    detail: str | None
    attempts: int
    subject_id: UUID = Field(description="The video, tuning, activation or evaluation run.")
    video_id: UUID | None = Field(description="The video, if it is about one.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobOut]


class ReceiptIn(Body):
    """The receipt of an earlier answer, as it was given."""

    model_version_id: UUID
    generation_id: UUID
    epoch: Annotated[str, StringConstraints(min_length=1, max_length=64), Storable]
    seq: Count
    candidates: Count
    reranked: Count


class SearchFilterIn(Body):
    """Which videos may be found."""

    tags: Tags = Field(default_factory=list, description="All of these.")
    video_ids: list[UUID] | None = Field(None, max_length=NUM_FILTER_IDS)
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
    min_duration_s: Seconds | None = None
    max_duration_s: Seconds | None = None


class SearchIn(Body):
    """What to look for."""

    text: SearchText
    limit: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    candidates: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    rerank_depth: Annotated[int, Field(strict=True, ge=0, le=1000)] | None = None
    deadline_ms: Annotated[int, Field(strict=True, ge=1, le=60_000)] | None = None
    group_by: Literal["moment", "video"] = "moment"
    filter: SearchFilterIn = Field(default_factory=SearchFilterIn)
    cursor: Cursor | None = None
    min_seq: Count | None = Field(None, description="Wait for this change to be searchable.")
    receipt: ReceiptIn | None = Field(
        None, description="Of an earlier answer: search what it searched, as it was then."
    )
    include_unsure: Annotated[
        bool, Field(description="Show the closest moments even if none is a confident match.")
    ] = False


class MomentOut(BaseModel):
    """One answer: adjoining segments of a video."""

    video_id: UUID
    title: str
    start_s: float
    end_s: float
    similarity: float
    match_probability: float | None
    rank: int
    retrieval_rank: int
    thumbnail_url: str
    media_url: str
    segments: list[int]


class ReceiptOut(BaseModel):
    """What answered: the same receipt means the same index and the same model."""

    model_version_id: UUID
    generation_id: UUID
    epoch: str
    seq: int = Field(description="The last change that the answer contains.")
    candidates: int
    reranked: int


class AnswerOut(BaseModel):
    """The moments that match, best first."""

    moments: list[MomentOut]
    receipt: ReceiptOut
    next_cursor: str | None
    degraded: bool = Field(description="Re-ranking was not done when the deadline came.")
    confidence: Confidence = Field(
        description="`none`: no moment is likely to be what was meant, so none is shown; "
        "`unknown`: the model's match probabilities were never fitted, or too little was re-ranked."
    )
