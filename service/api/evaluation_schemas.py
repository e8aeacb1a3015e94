"""What /v1/evaluation-sets and /v1/evaluation-runs read and answer."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from service.api.schemas import Body, SearchText, Seconds, Storable
from service.catalog.activation_tables import Trigger
from service.catalog.tables import JobState
from service.evaluations.sets import MAX_NAME, MAX_QUERIES

SetName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME),
    Storable,
]


class QueryIn(Body):
    """A text, and the moment that answers it; without a span any moment of the video does."""

    text: Annotated[SearchText, Storable]
    video_id: UUID
    start_s: Seconds | None = None
    end_s: Seconds | None = None


class EvaluationSetIn(Body):
    """A list of queries; several right moments for one text are several queries of that text."""

    name: SetName = Field(description="The same name again is the next version.")
    queries: Annotated[list[QueryIn], Field(min_length=1, max_length=MAX_QUERIES)]


class QueryOut(BaseModel):
    """A query of a set."""

    text: str
    video_id: UUID
    title: str = Field(description="Of the video.")
    start_s: float | None
    end_s: float | None
    is_gone: bool = Field(description="The video was deleted: runs leave the query out.")


class EvaluationRunLinks(BaseModel):
    """Where to look next."""

    self: str
    job: str
    events: str


class EvaluationRunOut(BaseModel):
    """A run of a set, or of what it has come to so far."""

    id: UUID
    job_id: UUID
    set_id: UUID
    set_name: str
    set_version: int
    state: JobState
    stage: str | None
    percent: float
    reason: str | None
    detail: str | None
    trigger: Trigger = Field(description="Who wanted it: a person, or a switch of models.")
    generation_id: UUID | None = Field(description="What was measured; null until it is done.")
    model_id: UUID | None
    model_name: str | None
    figures: dict[str, Any] | None = Field(
        description="`streams` (R@1, R@5, R@10, MdR, MnR, nDCG@10 and intervals, by stream and "
        "target), how many queries were measured, and `change` since the run before."
    )
    created_at: datetime
    finished_at: datetime | None
    links: EvaluationRunLinks


class AnswerRankOut(BaseModel):
    """Where the first right answer stood, from 1."""

    moment: int
    video: int


class QueryAnswerOut(BaseModel):
    """How one text was answered."""

    text: str
    video_id: UUID
    moments: int = Field(description="How many moments are right.")
    dual_stream: AnswerRankOut
    reranked: AnswerRankOut | None


class EvaluationRunDetail(EvaluationRunOut):
    """A run with the answer to each query."""

    answers: list[QueryAnswerOut] | None


class EvaluationRunPage(BaseModel):
    """Runs of one set, newest first."""

    runs: list[EvaluationRunOut]


class EvaluationSetLinks(BaseModel):
    """Where the parts of a set are."""

    self: str
    runs: str


class EvaluationSetOut(BaseModel):
    """One version of a set."""

    id: UUID
    name: str
    version: int
    is_newest: bool
    num_queries: int
    num_gone: int = Field(description="Queries whose video was deleted since.")
    created_at: datetime
    last_run: EvaluationRunOut | None = Field(description="The newest run that has figures.")
    links: EvaluationSetLinks


class EvaluationSetDetail(EvaluationSetOut):
    """One version of a set, with its queries."""

    queries: list[QueryOut]


class EvaluationSetList(BaseModel):
    """Sets by name."""

    sets: list[EvaluationSetOut]


class RequestedRun(BaseModel):
    """A run that was queued, or that waited already."""

    id: UUID
    job_id: UUID
    links: EvaluationRunLinks
