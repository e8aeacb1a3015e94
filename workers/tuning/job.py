"""tune(): let a process train and compare, write down how it goes, register what came out."""

import time

import structlog
import torch

from service.catalog import tuning_queries
from service.catalog.job_queries import LostLeaseError
from service.catalog.tables import Job, JobState
from service.settings import Settings
from workers.lease import JobStoppedError, Lease
from workers.resources import Resources
from workers.runner import WorkError
from workers.tuning.candidate import register
from workers.tuning.child import FolderInUseError, TuningChild
from workers.tuning.diary import Diary
from workers.tuning.events import PREPARING, Done, Event, Failed, Stopped
from workers.tuning.files import open_folder

POLL_S = 0.5
"""How often a cancel, a shutdown and deleted pairs are looked for."""
FEWEST_PAIRS_OF_A_PROCESS = 2

log = structlog.get_logger(__name__)


def tune(job: Job, lease: Lease, resources: Resources) -> None:
    """Tune a model as a run asks, and register the candidate; begun again, it goes on.

    Raises:
        WorkError: it cannot be done, or its process died.
        JobStoppedError: the job was cancelled, or the worker shuts down; a checkpoint was written.
        LostLeaseError: another worker has the job.
    """
    lease.report(PREPARING, 0.0)
    run = _Run(job, lease, resources)
    try:
        run.train()
    except FolderInUseError as error:
        raise WorkError(
            "folder_in_use",
            "The process of an earlier attempt does not end; it is tried again later.",
            is_final=False,
        ) from error
    lease.report("registering", 0.98)
    register(job, lease, resources, run.folder.path)


def num_processes(settings: Settings, num_pairs: int) -> int:
    """Return how many processes share a run: as the settings say, or one for each GPU."""
    wanted = settings.tuning_processes
    if not wanted:
        wanted = 1 if settings.device == "cpu" else torch.cuda.device_count()
    return max(1, min(wanted, num_pairs // FEWEST_PAIRS_OF_A_PROCESS))


class _Run:
    """One attempt of a run: a process in its folder, and what must be watched meanwhile."""

    def __init__(self, job: Job, lease: Lease, resources: Resources) -> None:
        self._job, self._lease, self._resources = job, lease, resources
        self.folder = open_folder(job, resources)
        self._diary = Diary(job, lease, resources, steps_kept=self.folder.steps_kept)

    def train(self) -> None:
        """Let the process train and compare, to its end.

        Raises:
            FolderInUseError: that of an earlier attempt does not end.
            WorkError: it failed, or died.
            JobStoppedError: the job was cancelled, or the worker shuts down.
            LostLeaseError: another worker has the job.
        """
        settings = self._resources.settings
        with TuningChild(
            self.folder.path,
            processes=num_processes(settings, self.folder.num_pairs),
            environment=_environment(settings),
        ) as child:
            log.info("tuning_process_started", pid=child.pid, steps_kept=self.folder.steps_kept)
            with self._lease.stopping(child.ask_to_stop):
                ending = self._follow(child)
                self._diary.write()
            status = child.exit_status()
        self._lease.check()
        if self._resources.is_stopping and not isinstance(ending, Done | Failed):
            raise JobStoppedError("the worker shuts down")
        _judge(ending, status, child)

    def _follow(self, child: TuningChild) -> Event | None:
        """Write down what the process says until it ends; return what it said of its end."""
        ending: Event | None = None
        looked_at = time.monotonic()
        while not child.has_ended:
            event = child.next_event(POLL_S)
            if event is not None:
                self._diary.take(event)
            if isinstance(event, Done | Failed | Stopped):
                ending = event
            self._diary.write_if_due()
            if self._resources.is_stopping:
                child.ask_to_stop()
            child.kill_if_overdue()
            if time.monotonic() - looked_at >= POLL_S:
                self._look_around()
                looked_at = time.monotonic()
        return ending

    def _look_around(self) -> None:
        """See whether the run was cancelled, and whether pairs of it were deleted.

        Raises:
            LostLeaseError: it was cancelled, or another worker has it.
        """
        with self._resources.reads() as session:
            seen = tuning_queries.look_at(session, self._job.id)
            if (seen.state, seen.fence) != (JobState.RUNNING, self._job.fence):
                raise LostLeaseError("cancelled, or taken by another worker")
            if seen.num_pairs == self.folder.num_pairs:
                return
            left = tuning_queries.ordinals_of(session, self._job.subject_id)
        log.info("pairs_forgotten", pairs=self.folder.forget_all_but(left))


def _judge(ending: Event | None, status: int, child: TuningChild) -> None:
    """Make sure that the process did all that it should.

    Raises:
        WorkError: it failed, or died.
        JobStoppedError: somebody else asked it to stop.
    """
    if isinstance(ending, Failed):
        raise WorkError(ending.reason, ending.detail, is_final=True)
    if isinstance(ending, Stopped):
        raise JobStoppedError("the process was stopped")
    if not isinstance(ending, Done) or status:
        log.error("tuning_process_died", status=status, log=child.log_tail())
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise WorkError(
            "process_died",
            f"The process that trains {how}; the log of the worker says more. What it had saved "
            "is kept.",
            is_final=False,
        )


def _environment(settings: Settings) -> dict[str, str]:
    """Return what the process must know of the settings beside its plan."""
    return {"OMP_NUM_THREADS": str(settings.torch_threads)} if settings.torch_threads else {}
