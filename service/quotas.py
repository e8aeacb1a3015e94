"""How much may be uploaded: a key's bytes of a day, and what the installation keeps altogether.

`check_upload` looks before a body is read; `count_upload` counts and looks again in the transaction
that accepts the video, so that two uploads at once cannot pass a limit together.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import usage_queries
from service.catalog.tables import utc_now
from service.errors import StorageFullError, TooManyRequestsError
from service.settings import Settings

UPLOAD_BYTES = "upload_bytes"
UPLOAD_BYTES_PER_DAY = "upload_bytes_per_day"
"""Name of the limit that a key may have of its own."""
INSTALLATION, KEPT, ALWAYS = "*", "kept", "always"
KEPT_DAYS = 31


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Upper bounds of what is uploaded; None: unbounded.

    Attributes:
        upload_bytes_per_day: of one key (or browser session) in one day of UTC.
        stored_bytes: of all videos together.
        videos: how many there may be.
    """

    upload_bytes_per_day: int | None = None
    stored_bytes: int | None = None
    videos: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Quotas":
        """Return those of the settings."""
        return cls(
            upload_bytes_per_day=settings.quota_upload_bytes_per_day,
            stored_bytes=settings.quota_stored_bytes,
            videos=settings.quota_videos,
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
        """
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
        """
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


def _limits_of(session: Session, owner: str) -> dict[str, object]:
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
