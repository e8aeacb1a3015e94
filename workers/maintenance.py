"""The sweep: what was lost is sent again, what was given up is closed, what nobody needs goes."""

import threading
import time

import structlog
from sqlalchemy.orm import Session

from service.catalog import job_queries, message_queries
from service.catalog.session import in_transaction
from service.catalog.tables import Job
from service.errors import StorageUnavailableError
from service.housekeeping import (
    forget_old_rows,
    sweep_files,
    sweep_generations,
    unlink_condemned,
)
from service.jobs import TASK_OF
from service.registry import Registry
from workers.resources import Resources

REMAINS_EVERY_S = 60.0
"""Files of deleted videos, and rows that have expired; sooner if the grace is short."""
FILES_EVERY_S = 1800.0
"""The store is listed from end to end, which takes long if it is large, so much less often."""

log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps of one process; any number of processes may sweep at once.

    Args:
        resources: of this process.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._registry = Registry(resources.settings.data_dir)
        self._lock = threading.Lock()
        self._files_lock = threading.Lock()
        self._grace_s = resources.settings.orphan_grace_s
        self._remains_swept = self._files_swept = -float("inf")
        self._swept = time.monotonic()

    @property
    def idle_s(self) -> float:
        """How long ago this process swept for the last time, or was made."""
        return time.monotonic() - self._swept

    def sweep(self) -> None:
        """Do all that is due; nothing if another thread of this process does it already."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            with self._resources.metrics.sweeps.time():
                self._sweep()
        finally:
            self._swept = time.monotonic()
            self._lock.release()
        # lost jobs must not wait for it: meanwhile another thread sweeps the rest
        if self._files_lock.acquire(blocking=False):
            try:
                if self._is_due(self._files_swept, FILES_EVERY_S):
                    self._sweep_files()
                    self._files_swept = time.monotonic()
            finally:
                self._files_lock.release()

    def _is_due(self, last: float, every_s: float) -> bool:
        return time.monotonic() - last >= min(every_s, self._grace_s / 2)

    def _sweep(self) -> None:
        metrics, resources = self._resources.metrics, self._resources
        metrics.count_swept("given_up", give_up_poisoned_jobs(resources))
        metrics.count_swept("sent_again", send_lost_jobs(resources))
        sweep_generations(
            resources.sessions, resources.storage, self._registry, grace_s=self._grace_s
        )
        if self._is_due(self._remains_swept, REMAINS_EVERY_S):
            self._sweep_remains()
            forget_old_rows(resources.sessions)
            self._remains_swept = time.monotonic()

    def _sweep_remains(self) -> None:
        resources = self._resources
        try:
            number = unlink_condemned(resources.sessions, resources.storage, self._grace_s)
        except StorageUnavailableError as error:  # the next one does it
            log.warning("files_not_swept", reason=error.reason)
            return
        resources.metrics.count_swept("unlinked", number)

    def _sweep_files(self) -> None:
        resources = self._resources
        try:
            swept = sweep_files(resources.sessions, resources.storage, grace_s=self._grace_s)
        except StorageUnavailableError as error:  # the next one does it
            log.warning("files_not_swept", reason=error.reason)
            return
        for what, number in vars(swept).items():
            resources.metrics.count_swept(what, number)


def give_up_poisoned_jobs(resources: Resources) -> int:
    """Fail the jobs whose workers died once too often: they may be what kills them.

    Returns:
        How many.
    """
    poisoned = in_transaction(
        resources.sessions,
        lambda session: job_queries.fail_poisoned_jobs(
            session,
            lease_s=resources.settings.job_lease_s,
            max_attempts=resources.settings.job_attempts,
        ),
    )
    for job in poisoned:
        log.warning("job_given_up", job_id=str(job.id), attempts=job.attempts, reason=job.reason)
    return len(poisoned)


def send_lost_jobs(resources: Resources) -> int:
    """Send jobs again that wait for long, or whose worker went silent; return how many."""

    def take_due(session: Session) -> list[Job]:
        due = message_queries.due_jobs(
            session,
            first_after_s=resources.settings.sweep_every_s,
            lease_s=resources.settings.job_lease_s,
        )
        if due:
            message_queries.mark_sent(session, [job.id for job in due])
        return due

    due = in_transaction(resources.sessions, take_due)
    for number, job in enumerate(due):
        if not resources.sender.send(TASK_OF[job.kind], job.id):
            # the broker is away: the next sweep tries again, not the one a minute from now
            unsent = [each.id for each in due[number:]]
            in_transaction(
                resources.sessions,
                lambda session: message_queries.forget_sent(session, unsent),  # noqa: B023
            )
            return number
        log.info("job_sent_again", job_id=str(job.id), attempts=job.attempts)
    return len(due)
