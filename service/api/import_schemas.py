"""What clients send and get of imports."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints, model_validator

from service.api.schemas import Body, Storable
from service.catalog.import_tables import ImportKind, ItemState
from service.catalog.tables import JobState

MAX_URL, MAX_URLS = 2048, 1000

Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL), Storable]
Path = Annotated[str, StringConstraints(max_length=1024), Storable]


class ImportedUrl(Body):
    """One file to fetch, and what is said about it. `service.metadata` has the bounds."""

    url: Url
    title: str | None = None
    tags: list[str] = Field(default_factory=list)
    fields: dict[str, Any] = Field(default_factory=dict)


class ImportedBucket(Body):
    """A bucket, or a part of one."""

    url: Url = Field(description="As `s3://bucket/prefix`.")
    endpoint: Url | None = Field(None, description="That of the settings if left out.")


class ImportIn(Body):
    """What to import: `urls`, a `folder` or a `bucket`."""

    urls: Annotated[list[ImportedUrl], Field(min_length=1, max_length=MAX_URLS)] | None = None
    folder: Path | None = Field(None, description="A path below the import folder; `.` is all.")
    bucket: ImportedBucket | None = None
    tags: list[str] = Field(default_factory=list, description="Every video gets them.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.urls, self.folder, self.bucket)) != 1:
            raise ValueError("name one of urls, folder and bucket")
        return self


class ItemCounts(BaseModel):
    """How many items are in each state."""

    waiting: int = 0
    accepted: int = 0
    duplicate: int = 0
    refused: int = 0


class ImportLinks(BaseModel):
    """Where to look next."""

    self: str
    job: str
    events: str
    cancel: str


class ImportOut(BaseModel):
    """One import."""

    id: UUID
    job_id: UUID
    kind: ImportKind
    folder: str | None
    bucket: str | None
    state: JobState
    stage: str | None
    percent: float
    is_listed: bool = Field(description="Whether every item is known already.")
    items: ItemCounts
    reason: str | None = Field(description="Why it failed: a code.")
    detail: str | None
    created_at: datetime
    finished_at: datetime | None
    links: ImportLinks


class ImportList(BaseModel):
    """Some imports, newest first."""

    imports: list[ImportOut]
    next_cursor: str | None


class ImportItemOut(BaseModel):
    """One file of an import."""

    ordinal: int
    source: str = Field(description="Address without its query, or path.")
    state: ItemState
    size_bytes: int | None
    video_id: UUID | None
    reason: str | None = Field(description="Why it was refused: a code.")
    detail: str | None


class ImportItemPage(BaseModel):
    """Some items in their order."""

    items: list[ImportItemOut]
    next_after: int | None = Field(description="Send it as `after` for the next page.")
