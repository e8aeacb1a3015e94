"""The tables. Rules of how they change are in docs/consistency.md."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.log import current_request_id


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times; SQLite, which has none, keeps them without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store in UTC."""
        del dialect
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def utc_now() -> datetime:
    """Return the time now, aware."""
    return datetime.now(UTC)


class BlobState(StrEnum):
    """Whether a file may be read, waits to be unlinked, or was unlinked."""

    LIVE = "live"
    CONDEMNED = "condemned"
    GONE = "gone"


class VideoState(StrEnum):
    """What a user sees of a video."""

    QUEUED = "queued"
    PROCESSING = "processing"
    READY = "ready"
    PARTIAL = "partial"
    FAILED = "failed"
    DELETED = "deleted"


class GenerationState(StrEnum):
    """Whether a generation is filled, searched, kept for a rollback, or done with."""

    BUILDING = "building"
    ACTIVE = "active"
    KEPT = "kept"
    """Was searched before: still written, so that going back to it takes one commit."""
    RETIRED = "retired"


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What a job does."""

    INGEST = "ingest"
    EMBED = "embed"
    """Embed an uploaded video into one more generation."""
    TUNE = "tune"
    ACTIVATE = "activate"
    EVALUATE = "evaluate"
    IMPORT = "import"
    DELIVER = "deliver"
    """Tell a webhook of an event."""


class KeyState(StrEnum):
    """What is known of a request that had an idempotency key."""

    RUNNING = "running"
    """It is being carried out, or its process was killed: its lease tells."""
    DONE = "done"
    """What it writes is committed, but its answer is not kept (yet)."""
    ANSWERED = "answered"


class ChangeOp(StrEnum):
    """What a replica must do."""

    UPSERT = "upsert"
    DELETE = "delete"
    PROMOTE = "promote"


def named(values: type[StrEnum]) -> Enum:
    """Store the values of an enum as text, and give the enum back."""
    return Enum(
        values, native_enum=False, length=16, values_callable=lambda kinds: [str(k) for k in kinds]
    )


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it as a class attribute)
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON,
    }


class Blob(Base):
    """One uploaded file, named by its content."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[BlobState] = mapped_column(named(BlobState))
    condemned_at: Mapped[datetime | None]


class Video(Base):
    """One uploaded video and what is known of it."""

    __tablename__ = "videos"
    __table_args__ = (
        Index(
            "ix_videos_live_sha256",
            "sha256",
            unique=True,
            sqlite_where=text("state != 'deleted'"),
            postgresql_where=text("state != 'deleted'"),
        ),
        Index("ix_videos_listing", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    file_name: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    fields: Mapped[dict[str, Any]]
    state: Mapped[VideoState] = mapped_column(named(VideoState), index=True)
    version: Mapped[int] = mapped_column(default=1)
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    container: Mapped[str | None] = mapped_column(String(64))
    codec: Mapped[str | None] = mapped_column(String(64))
    width: Mapped[int | None]
    height: Mapped[int | None]
    frame_rate: Mapped[float | None] = mapped_column(Float)
    duration_s: Mapped[float | None] = mapped_column(Float, index=True)
    num_segments: Mapped[int] = mapped_column(default=0)
    derived: Mapped[str | None] = mapped_column(Text)
    """Folder of thumbnails and stored clips, relative to the storage root."""
    decode_report: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)
    deleted_at: Mapped[datetime | None]


class VideoTag(Base):
    """One tag of one video."""

    __tablename__ = "video_tags"

    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(100), primary_key=True, index=True)


class Segment(Base):
    """A span [start_s, end_s) of a video: the unit that is embedded."""

    __tablename__ = "segments"

    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start_s: Mapped[float] = mapped_column(Float)
    end_s: Mapped[float] = mapped_column(Float)
    position: Mapped[int]
    """Row of its clip in the video's clip file; spans that could not be decoded have none."""
    thumbnail_offset: Mapped[int] = mapped_column(BigInteger)
    """Where its JPEG starts in the video's thumbnail file."""
    thumbnail_bytes: Mapped[int]


class ModelVersion(Base):
    """A registered bundle."""

    __tablename__ = "model_versions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(Text)
    bundle_digest: Mapped[str] = mapped_column(String(64), unique=True)
    bundle_path: Mapped[str] = mapped_column(Text)
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Generation(Base):
    """One embedding space: all embeddings of one model version."""

    __tablename__ = "generations"
    __table_args__ = (
        Index(
            "ix_generations_one_active",
            "state",
            unique=True,
            sqlite_where=text("state = 'active'"),
            postgresql_where=text("state = 'active'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    state: Mapped[GenerationState] = mapped_column(named(GenerationState))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    ready_at: Mapped[datetime | None]
    """Since when one that is being built has every video: replicas load it."""
    kept_until: Mapped[datetime | None]
    """End of the rollback window."""


class Embedding(Base):
    """The embedding of one segment in one generation."""

    __tablename__ = "embeddings"

    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    video_version: Mapped[int]
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    """Unit norm, little-endian float16."""
    crc: Mapped[int] = mapped_column(BigInteger)
    """zlib.crc32 of `vector`."""


class Job(Base):
    """One run of a task. This row is the queue; a broker message only wakes a worker."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("kind", "subject_id", "generation_id", "version", name="uq_jobs_subject"),
        Index("ix_jobs_open", "state", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[JobKind] = mapped_column(named(JobKind))
    subject_id: Mapped[UUID] = mapped_column(index=True)
    """The video, tuning, activation, evaluation run, import or delivery."""
    generation_id: Mapped[UUID | None] = mapped_column(ForeignKey("generations.id"))
    """None: of no generation, as a tuning."""
    version: Mapped[int]
    """Version of the video that it works on; 1 for what has no versions."""
    state: Mapped[JobState] = mapped_column(named(JobState), default=JobState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    """Goes up with each claim; every write of the worker checks it."""
    sent_at: Mapped[datetime | None]
    """When a message was last sent for it by the sweeper."""
    not_before: Mapped[datetime | None]
    """It waits until then, as a delivery that is tried again."""
    request_id: Mapped[str | None] = mapped_column(String(64), default=current_request_id)
    """Id of the request that asked for it, for logs; a job's own jobs have that of the job."""
    lease_until: Mapped[datetime | None]
    stage: Mapped[str | None] = mapped_column(String(32))
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    """Share done, 0 to 1."""
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Change(Base):
    """One line of the change log that replicas follow."""

    __tablename__ = "change_log"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    generation_id: Mapped[UUID | None] = mapped_column(ForeignKey("generations.id"))
    """None: every generation (a delete)."""
    video_id: Mapped[UUID | None]
    video_version: Mapped[int | None]
    op: Mapped[ChangeOp] = mapped_column(named(ChangeOp))
    chain: Mapped[str] = mapped_column(String(64))
    """Digest of this line and of the chain before it."""


class ChangeCounter(Base):
    """The one row that numbers changes without gaps."""

    __tablename__ = "change_counter"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[str] = mapped_column(String(36))
    """Changes on a restore: replicas then discard what they have."""
    seq: Mapped[int] = mapped_column(BigInteger)
    chain: Mapped[str] = mapped_column(String(64))


class Snapshot(Base):
    """One published file of a replica; it only makes the start quick."""

    __tablename__ = "snapshots"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"))
    epoch: Mapped[str] = mapped_column(String(36))
    seq: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class IdempotencyKey(Base):
    """What a creating request with this key answered."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Id of the API key that sent it."""
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    response: Mapped[dict[str, Any]]
    state: Mapped[KeyState] = mapped_column(
        named(KeyState), default=KeyState.ANSWERED, server_default=KeyState.ANSWERED
    )
    claim: Mapped[UUID | None]
    """Which of several requests at once carries it out."""
    lease_until: Mapped[datetime | None]
    """When another request may carry it out, if nothing was committed until then."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
