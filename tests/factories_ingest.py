"""What tests of ingest need: real uploads, a registered tiny bundle, a real worker process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import psutil

from model.bundle import bundle_digest, load_bundle
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.probe import probe
from service.catalog.generation_queries import ActiveGeneration, ensure_active_generation
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import Job, JobState, Segment, Video
from service.jobs import JobSender
from service.settings import Settings
from service.storage import Storage
from service.uploads import Accepted
from tests import factories

DEADLINE_S = 90.0
REPOSITORY = Path(__file__).parents[1]


def register(sessions: Sessions, bundle_dir: Path) -> ActiveGeneration:
    """Search with a real bundle."""
    digest, spec = bundle_digest(bundle_dir), asdict(load_bundle(bundle_dir).spec)
    return in_transaction(
        sessions,
        lambda session: ensure_active_generation(
            session, name="tiny", digest=digest, path=str(bundle_dir), spec=spec
        ),
    )


def upload_file(sessions: Sessions, storage: Storage, sender: JobSender, path: Path) -> Accepted:
    """Accept a file, also one that the API would have refused."""
    try:
        facts = probe(path, limits=DecodeLimits())
    except VideoError:
        facts = factories.Facts()
    return factories.upload(
        sessions, storage, sender, path.read_bytes(), file_name=path.name, facts=facts
    )


def wait_for(what: Callable[[], bool], *, deadline_s: float = DEADLINE_S, every_s: float = 0.05):
    """Wait until something is true, and fail if it does not become so."""
    deadline = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every_s)


def get_video(sessions: Sessions, video_id: UUID) -> Video:
    """Return a video as it is now."""
    with sessions() as session:
        return session.get_one(Video, video_id)


def get_job(sessions: Sessions, job_id: UUID) -> Job:
    """Return a job as it is now."""
    with sessions() as session:
        return session.get_one(Job, job_id)


def wait_for_state(sessions: Sessions, job_id: UUID, *states: JobState) -> Job:
    """Wait until a job is in one of some states, and return it."""
    wait_for(lambda: get_job(sessions, job_id).state in states)
    return get_job(sessions, job_id)


def count_segments(sessions: Sessions, video_id: UUID) -> int:
    """Return how many segments a video has."""
    with sessions() as session:
        return session.query(Segment).filter_by(video_id=video_id).count()


class WorkerProcess:
    """A real Celery worker, with its clock, started as `reelseek worker` starts it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        values = settings.model_dump(exclude_none=True, mode="json", exclude={"admin_key"})
        own = {f"REELSEEK_{name.upper()}": str(value) for name, value in values.items()}
        concurrency = str(settings.ingest_concurrency)
        self._log = log
        with log.open("ab") as output:
            self.process = psutil.Popen(
                [
                    *(sys.executable, "-m", "celery", "--quiet", "--app", "workers.app", "worker"),
                    *("--pool", "threads", "--concurrency", concurrency, "--beat"),
                    *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
                ],
                cwd=REPOSITORY,
                env={**os.environ, **own, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text()

    def family(self) -> list[psutil.Process]:
        """Return its child processes: the clock, and the decoders."""
        return self.process.children(recursive=True)

    def decoders(self) -> list[psutil.Process]:
        """Return the children that decode now."""
        found = []
        for child in self.family():
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # it ended just now
                if "model.video.child" in child.cmdline():
                    found.append(child)
        return found

    def kill(self) -> list[psutil.Process]:
        """Kill it as the kernel would, and return the children that it had."""
        family = self.family()
        self.process.kill()
        self.process.wait(DEADLINE_S)
        return family

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        if self.process.is_running():
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


@contextmanager
def running_worker(settings: Settings, log: Path) -> Iterator[WorkerProcess]:
    """Run a worker; it is killed with its children at the end if it still runs."""
    worker = WorkerProcess(settings, log)
    family: list[psutil.Process] = []
    try:
        yield worker
    finally:
        if worker.process.is_running():
            family = worker.kill()
        for child in family:
            if child.is_running():
                child.kill()
