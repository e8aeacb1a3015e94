"""What happens to an import whose worker fails again and again. It imports no other queries."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.import_tables import Import, ImportItem, ImportKind, ItemState
from service.catalog.tables import Job, JobState

MAX_DETAIL = 500


def skip_item(session: Session, job: Job, *, reason: str, detail: str) -> bool:
    """Refuse the file at which an import always ends, and queue the import for the others.

    Files are fetched in their order, so that is the first one that waits.

    Args:
        session: a writing session.
        job: of the import, locked.
        reason: machine-readable code.
        detail: a sentence for a person.

    Returns:
        False, and nothing is changed, if none waits: what fails is the import itself.
    """
    waiting = (ImportItem.import_id == job.subject_id, ImportItem.state == ItemState.WAITING)
    item = session.scalar(select(ImportItem).where(*waiting).order_by(ImportItem.ordinal).limit(1))
    if item is None:
        return False
    if session.get_one(Import, job.subject_id).kind is ImportKind.URLS:
        item.source = without_query(item.source)
    item.state, item.reason, item.detail = ItemState.REFUSED, reason, detail[:MAX_DETAIL]
    job.state, job.attempts = JobState.QUEUED, 0
    job.lease_until = job.sent_at = None
    job.reason = job.detail = None
    session.flush()
    return True


def without_query(url: str) -> str:
    """Return an address without what may open it to others."""
    path, query, _ = url.partition("?")
    return f"{path}{'?...' if query else ''}"
