"""What Prometheus is told of the installation as a whole; every API process tells the same."""

from collections import Counter

from sqlalchemy.orm import Session

from service.catalog import process_queries, status_queries
from service.catalog.process_tables import LastRun
from service.observing.readings import Readings, Series

KINDS = ("api", "worker", "tuner", "courier")
AUDIT, BACKUP = "audit", "backup"


def read_installation(session: Session) -> Readings:
    """Read counts, queues, processes, and when audit and backup were done, from the database."""
    counts = status_queries.count_everything(session)
    queues = process_queries.read_queues(session)
    alive = Counter(each.kind for each in process_queries.read_processes(session) if each.is_alive)
    audit, backup = (process_queries.last_run(session, name) for name in (AUDIT, BACKUP))
    return Readings(
        reelseek_videos=counts.videos,
        reelseek_jobs=counts.jobs,
        reelseek_segments=counts.segments,
        reelseek_stored_bytes=counts.blob_bytes,
        reelseek_queue_depth=Series("kind", {k: one.queued for k, one in queues.items()}),
        reelseek_queue_held=Series("kind", {k: one.held for k, one in queues.items()}),
        reelseek_queue_running=Series("kind", {k: one.running for k, one in queues.items()}),
        reelseek_queue_age_seconds=Series("kind", {k: one.age_s for k, one in queues.items()}),
        reelseek_processes=Series("kind", {kind: alive[kind] for kind in KINDS}),
        reelseek_webhooks=process_queries.count_webhooks(session),
        reelseek_webhook_deliveries=process_queries.count_deliveries(session),
        reelseek_import_items=process_queries.count_import_items(session),
        reelseek_audit_violations=audit.result.get("violations", 0) if audit else 0,
        reelseek_audit_timestamp_seconds=_when(audit),
        reelseek_backup_timestamp_seconds=_when(backup),
    )


def _when(run: LastRun | None) -> float:
    """Return when, seconds since 1970; 0: never."""
    return run.finished_at.timestamp() if run else 0.0
