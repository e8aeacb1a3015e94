"""The composition root: `celery --app workers.app worker --pool threads --beat`.

Importing it opens no connection and loads no torch, because Celery forks its clock (`--beat`)
before the worker is ready; what the process holds is made after that.
"""

import ctypes
import logging
import signal
import threading
from typing import Any
from uuid import UUID

import structlog
from celery import signals
from sqlalchemy.exc import OperationalError

from service import log as logs
from service.allocator import share_arenas
from service.catalog.tables import JobKind
from service.jobs import Queue, Task, make_celery
from service.settings import Settings
from workers.maintenance import Sweeper
from workers.priority import take_lowest_priority
from workers.resources import Resources
from workers.runner import run_in_line, run_job
from workers.visible import Visible, kind_of

PR_SET_PDEATHSIG = 1
CHATTY_LOGGERS = (
    "celery.app.trace",
    "celery.beat",
    "celery.worker.request",
    "celery.worker.strategy",
)
"""They tell of each message that comes and goes; we tell of each job."""

log = structlog.get_logger(__name__)


class Process:
    """What this worker process holds, made on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_tuning = threading.Lock()
        # one thread is left to webhooks: a large file must not hold up what they are told
        self.importers = threading.BoundedSemaphore(max(1, settings.courier_concurrency - 1))
        self.has_stopped = threading.Event()
        self._lock = threading.Lock()
        self._resources: Resources | None = None
        self._sweeper: Sweeper | None = None
        self._visible: Visible | None = None

    @property
    def resources(self) -> Resources:
        """The database, the files, the broker and the bundles."""
        with self._lock:
            if self._resources is None:
                self._resources = Resources(self.settings)
            return self._resources

    @property
    def sweeper(self) -> Sweeper:
        """The sweep of this process."""
        resources = self.resources
        with self._lock:
            if self._sweeper is None:
                self._sweeper = Sweeper(resources)
            return self._sweeper

    def show(self, kind: str) -> None:
        """Let others see that this process lives, and what it does."""
        self._visible = Visible(self.resources, kind)

    def stop_soon(self) -> None:
        """Let running jobs work on for a while; then they are given back. Takes no lock."""
        if self._resources is not None:
            self._resources.stop_work_in(self.settings.drain_s)

    def keep_sweeping(self) -> None:
        """Sweep where the clock falls silent: if its process is killed, Celery starts no other."""
        silent_s = 3 * self.settings.sweep_every_s
        while not self.has_stopped.wait(self.settings.sweep_every_s):
            if self.sweeper.idle_s < silent_s:
                continue
            log.warning("clock_is_silent", idle_s=round(self.sweeper.idle_s, 1))
            try:
                self.sweeper.sweep()
            except OperationalError as error:
                log.warning("sweep_put_off", error=str(error.orig))
            except Exception:  # the database is away, say; the next time will do
                log.exception("sweep_failed")

    def keep_waking(self) -> None:
        """Wake couriers for what webhooks are to be told."""
        from workers.delivering import keep_waking  # noqa: PLC0415 (after the last fork)

        keep_waking(self.resources, self.has_stopped)

    def close(self) -> None:
        """Give everything back."""
        self.has_stopped.set()
        if self._visible is not None:
            self._visible.close()
        if self._resources is not None:
            self._resources.close()


process = Process(Settings())
app = make_celery(process.settings)
app.Worker = app.subclass_with_self("workers.listening:Worker")


@app.task(name=Task.INGEST_VIDEO)
def ingest_video(job_id: str) -> None:
    """Cut, embed and store one video. Delivering it twice changes nothing."""
    from workers.ingest import ingest  # noqa: PLC0415 (torch, only after the last fork)

    run_job(UUID(job_id), ingest, process.resources)


@app.task(name=Task.EMBED_VIDEO)
def embed_video(job_id: str) -> None:
    """Embed one video into one more generation."""
    from workers.reembed import embed  # noqa: PLC0415 (torch)

    run_job(UUID(job_id), embed, process.resources)


@app.task(name=Task.TUNE)
def tune(_job_id: str) -> None:
    """Work on the tuning runs that wait, one at a time, in the order in which they were asked."""
    from workers.tuning.job import tune as work  # noqa: PLC0415 (after the last fork)

    if not process.is_tuning.acquire(blocking=False):
        return
    try:
        run_in_line(JobKind.TUNE, work, process.resources)
    finally:
        process.is_tuning.release()


@app.task(name=Task.ACTIVATE)
def activate(job_id: str) -> None:
    """Let a model take over."""
    from workers.activation import activate as work  # noqa: PLC0415 (torch)

    run_job(UUID(job_id), work, process.resources)


@app.task(name=Task.EVALUATE)
def evaluate(job_id: str) -> None:
    """Run an evaluation set."""
    from workers.evaluating import evaluate as work  # noqa: PLC0415 (torch)

    run_job(UUID(job_id), work, process.resources)


@app.task(name=Task.IMPORT)
def import_videos(_job_id: str) -> None:
    """Fetch the videos of the imports that wait, in the order in which they were asked."""
    from workers.importing import import_videos as work  # noqa: PLC0415 (after the last fork)

    if not process.importers.acquire(blocking=False):
        return
    try:
        run_in_line(JobKind.IMPORT, work, process.resources)
    finally:
        process.importers.release()


@app.task(name=Task.DELIVER)
def deliver(job_id: str) -> None:
    """Tell one webhook of one event."""
    from workers.delivering import deliver as work  # noqa: PLC0415 (after the last fork)

    run_job(UUID(job_id), work, process.resources)


@app.task(name=Task.SWEEP)
def sweep() -> None:
    """Send lost jobs again, give up poisoned ones, remove what nobody needs."""
    try:
        process.sweeper.sweep()
    except OperationalError as error:  # the database is away: no trace every few seconds
        log.warning("sweep_put_off", error=str(error.orig))


@signals.setup_logging.connect
def configure_log(loglevel: int, **_: Any) -> None:
    """Write the log in our form."""
    logs.configure(as_json=process.settings.log_json, level=loglevel)
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(max(loglevel, logging.WARNING))


@signals.beat_embedded_init.connect
def die_with_worker(**_: Any) -> None:
    """End the clock's process when the worker is killed; it would send sweeps for ever."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@signals.celeryd_after_setup.connect
def let_others_go_first(instance: Any, **_: Any) -> None:
    """Take the lowest priority where neither uploads nor searches are served."""
    if str(Queue.INGEST) not in instance.app.amqp.queues.consume_from:
        take_lowest_priority()


@signals.celeryd_after_setup.connect
def keep_little_memory(**_: Any) -> None:
    """Let the threads of a worker share what one of them gives back."""
    share_arenas()


@signals.worker_ready.connect
def sweep_at_once(**_: Any) -> None:
    """Recover what the worker before left behind, without waiting for the clock."""
    queues = set(app.amqp.queues.consume_from)
    log.info("worker_ready", data_dir=str(process.settings.data_dir))
    process.show(kind_of(queues))
    app.send_task(Task.SWEEP)
    if str(Queue.MAINTENANCE) in queues:
        threading.Thread(target=process.keep_sweeping, name="sweeps", daemon=True).start()
    if str(Queue.ERRANDS) in queues:
        threading.Thread(target=process.keep_waking, name="wakes", daemon=True).start()


@signals.worker_shutting_down.connect
def drain(**_: Any) -> None:
    """Bound the time that running jobs may still take. Runs in a signal handler."""
    process.stop_soon()


@signals.worker_shutdown.connect
def close(**_: Any) -> None:
    """Give everything back after the last job has ended."""
    process.close()
