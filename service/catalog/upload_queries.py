"""What an upload looks up: the video with its content, and what its key answered."""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.catalog.job_queries import lock_jobs_of
from service.catalog.tables import IdempotencyKey, Video, VideoState, utc_now
from service.catalog.video_queries import find_live_by_content


def lock_live_by_content(session: Session, sha256: str) -> Video | None:
    """Lock the video with this content, if there is one that is not deleted."""
    video = find_live_by_content(session, sha256)
    if video is None:
        return None
    lock_jobs_of(session, video.id)
    return session.scalar(  # it may have been deleted while we waited for the locks
        select(Video)
        .where(Video.id == video.id, Video.state != VideoState.DELETED)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def forget_idempotency_keys(session: Session, *, older_than_s: float) -> None:
    """Forget what requests answered long ago."""
    oldest = utc_now() - timedelta(seconds=older_than_s)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < oldest))
