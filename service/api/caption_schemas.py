"""What clients send and get of captions and feedback."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from service.api.schemas import Body, ReceiptOut, Seconds, Storable
from service.captions.checking import MAX_TEXT
from service.catalog.caption_tables import CaptionSource, Verdict

CaptionText = Annotated[str, StringConstraints(min_length=1, max_length=2 * MAX_TEXT), Storable]
"""`service.captions.checking` has the exact bounds, which hold for the text without blanks."""


class CaptionIn(Body):
    """What happens in a video, or in a span of it."""

    text: CaptionText
    start_s: Seconds | None = None
    end_s: Seconds | None = None


class CaptionOut(BaseModel):
    """One caption."""

    id: UUID
    video_id: UUID
    text: str
    start_s: float | None = Field(description="Null, as the end: the whole video.")
    end_s: float | None
    source: CaptionSource
    created_at: datetime


class CaptionPage(BaseModel):
    """Some captions, newest first."""

    captions: list[CaptionOut]
    next_cursor: str | None


class SkippedLine(BaseModel):
    """A line that was left out."""

    line: int
    reason: str


class ImportOut(BaseModel):
    """What became of a file of captions."""

    imported: int
    unchanged: int = Field(description="Captions that were here already.")
    num_skipped: int
    skipped: list[SkippedLine] = Field(description="The first of them.")


class PlaceIn(Body):
    """A moment of a video; without a span, all of it."""

    video_id: UUID
    start_s: Seconds | None = None
    end_s: Seconds | None = None


class FeedbackIn(PlaceIn):
    """What a person says of a hit: the video and span are those of the hit."""

    text: CaptionText = Field(description="The query.")
    verdict: Verdict
    instead: PlaceIn | None = Field(None, description="With `instead`: what was meant.")
    receipt: ReceiptOut = Field(description="Of the answer that showed the hit.")


class PlaceOut(BaseModel):
    """A moment of a video; without a span, all of it."""

    video_id: UUID
    start_s: float | None
    end_s: float | None


class FeedbackOut(BaseModel):
    """What a person said of a hit."""

    id: UUID
    text: str
    verdict: Verdict
    video_id: UUID
    start_s: float | None
    end_s: float | None
    instead: PlaceOut | None
    receipt: ReceiptOut
    created_at: datetime


class FeedbackPage(BaseModel):
    """Some feedback, newest first."""

    feedback: list[FeedbackOut]
    next_cursor: str | None
