"""What /v1/tunings reads and answers."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from service.api.schemas import Body, Storable, Tag
from service.catalog.tables import JobState
from service.catalog.tuning_tables import Policy
from service.pairs import HoldOut, PairFilter, PairSource
from service.tunings.request import TuningRequest

MAX_STEPS = 10_000_000
MAX_FILTER_VIDEOS = 10_000
MAX_FROZEN = 100

Part = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Rate = Annotated[float, Field(gt=0, le=1)]


class PairFilterIn(Body):
    """Which captions and which feedback may be learned from; what is left out does not matter."""

    video_ids: Annotated[list[UUID], Field(max_length=MAX_FILTER_VIDEOS)] | None = None
    tags: Annotated[list[Tag], Field(max_length=20)] | None = Field(
        None, description="Of videos with all of these tags."
    )
    sources: list[PairSource] | None = None


class TuningIn(Body):
    """How to tune; `{}` is enough. What is left out is chosen by the number of pairs."""

    model_id: UUID | None = Field(None, description="Start from it; from what is searched if null.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=64), Storable] | None = Field(
        None, description="Of the model that comes out; `tuned-1`, `tuned-2`, ... if null."
    )
    recipe: Literal["native", "clover"] | None = Field(
        None, description="`native`: All-in-One's objectives, the default. `clover`: Clover's."
    )
    steps: Annotated[int, Field(strict=True, ge=1, le=MAX_STEPS)] | None = None
    epochs: Annotated[float, Field(ge=1, le=100_000)] | None = Field(
        None, description="How often each pair is seen, in place of `steps`."
    )
    batch: Annotated[int, Field(strict=True, ge=2, le=65_536)] | None = None
    micro_batch: Annotated[int, Field(strict=True, ge=1, le=65_536)] | None = Field(
        None, description="Pairs that fit into memory at a time; the result is the same."
    )
    learning_rate: Rate | None = None
    text_learning_rate: Rate | None = Field(None, description="Of the parts that read text.")
    frozen: Annotated[list[Part], Field(max_length=MAX_FROZEN)] = Field(
        [], description="Not trained: `video`, `text`, or how names of weights begin."
    )
    word_dropout: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Largest share of words that a text may lose in training."
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    held_out_share: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    hold_out: HoldOut = Field(
        HoldOut.VIDEOS,
        description="Whole videos are held out, or other captions of videos that are seen.",
    )
    filter: PairFilterIn = Field(default_factory=PairFilterIn)
    policy: Policy = Field(
        Policy.MANUAL, description="Whether the model that comes out is activated by itself."
    )
    dry_run: bool = Field(
        default=False, description="Only say what it would take; nothing is started."
    )

    @field_validator("epochs")
    @classmethod
    def _check_not_both(cls, epochs: float | None, info: ValidationInfo) -> float | None:
        if epochs is not None and info.data.get("steps") is not None:
            raise PydanticCustomError(
                "both", "steps and epochs both say how long to train; give one of them"
            )
        return epochs

    def as_request(self) -> TuningRequest:
        """Return it for the use case."""
        chosen = {
            name: value
            for name in (
                "recipe",
                "steps",
                "epochs",
                "batch",
                "micro_batch",
                "learning_rate",
                "text_learning_rate",
                "frozen",
                "word_dropout",
                "seed",
            )
            if (value := getattr(self, name)) not in (None, [])
        }
        return TuningRequest(
            model_id=self.model_id,
            name=self.name,
            choices=chosen,
            held_out_share=self.held_out_share,
            hold_out=self.hold_out,
            pairs=PairFilter(**dict(self.filter)),
            policy=self.policy,
        )


class TuningLinks(BaseModel):
    """Where to look next."""

    self: str
    job: str
    events: str
    cancel: str


class RequestedTuning(BaseModel):
    """A run that waits for its turn."""

    id: UUID
    job_id: UUID
    links: TuningLinks


class DryRunOut(BaseModel):
    """What a run would take; nothing was started."""

    pairs: dict[str, int] = Field(
        description="`train` and `held_out` pairs, of `videos_train` and `videos_held_out`; "
        "`negative`: texts that somebody said are wrong."
    )
    steps: int
    batch: int
    estimated_s: float = Field(description="All steps, by one that was measured; seconds.")
    estimated_memory_bytes: int = Field(description="Of the GPU, or of the process on a CPU.")
    decode_s: float = Field(description="Decoding the clips, once, before the first step.")
    warnings: list[str]


class VersionRef(BaseModel):
    """A model."""

    id: UUID
    name: str


class TuningProgress(BaseModel):
    """One run, without its report."""

    id: UUID
    job_id: UUID
    state: JobState
    stage: str | None = Field(
        description="`preparing`, `training`, `evaluating` or `registering`, while it runs."
    )
    percent: float
    eta_s: float | None = Field(description="Until the last step of training, seconds.")
    base_version: VersionRef
    candidate_version: VersionRef | None = Field(description="What came out of it.")
    reason: str | None = Field(description="Why it failed: a code.")
    detail: str | None = Field(description="The same as a sentence.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TuningOut(TuningProgress):
    """One run."""

    request: dict[str, Any] = Field(description="What was asked.")
    plan: dict[str, Any] | None = Field(description="What was decided from the pairs.")
    report: dict[str, Any] | None = Field(description="How the candidate compares to its base.")
    links: TuningLinks


class TuningPage(BaseModel):
    """Some runs, newest first."""

    tunings: list[TuningProgress]
    next_cursor: str | None


class PointOut(BaseModel):
    """The losses of one step."""

    step: int
    loss: float
    losses: dict[str, float] = Field(description="By objective.")
    learning_rate: float
    pairs_per_s: float
    eta_s: float


class NoticeOut(BaseModel):
    """Something to know of a run."""

    at: datetime
    reason: str
    text: str


class TuningCurve(BaseModel):
    """How a run went so far."""

    points: list[PointOut]
    notices: list[NoticeOut]
