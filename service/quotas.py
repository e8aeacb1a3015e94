"""How much may be uploaded: a key's bytes of a day, and what the installation keeps altogether.

`check_upload` looks before a body is read; `count_upload` counts and looks again in the transaction
that accepts the video, so that two uploads at once cannot pass a limit together.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import usage_queries
from service.catalog.tables import JobKind, utc_now
from service.errors import StorageFullError, TooManyRequestsError, UnavailableError
from service.settings import Settings

UPLOAD_BYTES = "upload_bytes"
UPLOAD_BYTES_PER_DAY = "upload_bytes_per_day"
"""Name of the limit that a key may have of its own."""
INSTALLATION, KEPT, ALWAYS = "*", "kept", "always"
KEPT_DAYS = 31
QUEUE_WAIT_S = 30


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Upper bounds of what is uploaded; None: unbounded.

    Attributes:
        upload_bytes_per_day: of one key (or browser session) in one day of UTC.
        stored_bytes: of all videos together.
        videos: how many there may be.
        jobs_waiting: how many of them may wait for their ingest.
    """

    upload_bytes_per_day: int | None = None
    stored_bytes: int | None = None
    videos: int | None = None
    jobs_waiting: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Quotas":
        """Return those of the settings."""
        return cls(
            upload_bytes_per_day=settings.quota_upload_bytes_per_day,
            stored_bytes=settings.quota_stored_bytes,
            videos=settings.quota_videos,
            jobs_waiting=settings.jobs_waiting,
        )

    def check_upload(self, session: Session, owner: str, num_bytes: int | None) -> None:
        """Refuse an upload that is announced, before its body is read.

        Args:
            session: any session.
            owner: the `key_id` of who sends it.
            num_bytes: its size, if it is known.

        Raises:
            TooManyRequestsError: the owner has uploaded enough today.
            StorageFullError: there are enough videos, or they are large enough.
            UnavailableError: too many videos wait for their ingest.
        """
        self._check_queue(session)
        limit = self._day_limit(session, owner)
        if limit is not None:
            today = utc_now()
            used = usage_queries.read_usage(session, owner, UPLOAD_BYTES, _day(today))
            if used + max(1, num_bytes or 0) > limit:
                raise _enough_today(limit, today)
        self._check_kept(session, num_bytes=num_bytes or 0)

    def count_upload(
        self, session: Session, owner: str, num_bytes: int, *, is_new: bool = True
    ) -> None:
        """Count an upload in the transaction that accepts it, before its rows are written.

        Args:
            session: the transaction; roll it back if this raises.
            owner: the `key_id` of who sent it.
            num_bytes: its size.
            is_new: whether it is a video that was not there before.

        Raises:
            TooManyRequestsError: the owner has uploaded enough today.
            StorageFullError: there are enough videos, or they are large enough.
            UnavailableError: too many videos wait for their ingest.
        """
        if is_new:
            self._check_queue(session)
        today = utc_now()
        used = usage_queries.add_usage(session, owner, UPLOAD_BYTES, _day(today), num_bytes)
        limit = self._day_limit(session, owner)
        if limit is not None and used > limit:
            raise _enough_today(limit, today)
        if is_new and (self.stored_bytes is not None or self.videos is not None):
            # one after the other, or two would both find room for one
            usage_queries.add_usage(session, INSTALLATION, KEPT, ALWAYS, 0)
            self._check_kept(session, num_bytes=num_bytes)

    def _day_limit(self, session: Session, owner: str) -> int | None:
        own = _limits_of(session, owner).get(UPLOAD_BYTES_PER_DAY)
        return self.upload_bytes_per_day if own is None else int(own)

    def _check_queue(self, session: Session) -> None:
        """Refuse one more video where so many wait that they had better wait with their sender."""
        if self.jobs_waiting is not None and usage_queries.are_waiting(
            session, JobKind.INGEST, self.jobs_waiting
        ):
            raise UnavailableError(
                f"{self.jobs_waiting} videos wait for their ingest already; try again later.",
                reason="queue_full",
                retry_after_s=QUEUE_WAIT_S,
            )

    def _check_kept(self, session: Session, *, num_bytes: int) -> None:
        """Refuse one more video of this size where it would go beyond what is kept at most."""
        if self.videos is not None and usage_queries.num_videos(session) >= self.videos:
            raise StorageFullError(
                f"This installation keeps at most {self.videos} videos; delete some first.",
                reason="quota_videos",
            )
        if self.stored_bytes is None:
            return
        if usage_queries.stored_bytes(session) + num_bytes > self.stored_bytes:
            raise StorageFullError(
                f"This installation keeps at most {self.stored_bytes} bytes of video; "
                "delete some first.",
                reason="quota_stored_bytes",
            )


UNLIMITED = Quotas()


def forget_old_usage(session: Session) -> None:
    """Forget what was counted long ago."""
    usage_queries.forget_usage(session, before=_day(utc_now() - timedelta(days=KEPT_DAYS)))


def _limits_of(session: Session, owner: str) -> dict[str, Any]:
    try:
        key_id = UUID(owner)
    except ValueError:  # the key of the settings, a browser, a command
        return {}
    return usage_queries.limits_of_key(session, key_id)


def _enough_today(limit: int, today: datetime) -> TooManyRequestsError:
    midnight = (today + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return TooManyRequestsError(
        f"This key may upload {limit} bytes a day; go on tomorrow (UTC).",
        reason="quota_upload_bytes",
        retry_after_s=max(1, int((midnight - today).total_seconds())),
    )


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")
