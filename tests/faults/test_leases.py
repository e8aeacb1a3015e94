"""A worker that is frozen past its lease, two workers on one job, and a clock that jumps."""

import contextlib
import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from service.jobs import JobSender, Task
from service.settings import Settings
from tests.acceptance.live import upload, wait_for, wait_until_processed
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.faults.fleet import Fleet
from tests.faults.load import Ledger, Load, check_everything
from tests.servers import find_program

WITHIN_S = 180.0
CALM_S = 4.0
HOUR_S = 3600


class Clock:
    """The time of day of processes that are started with its environment.

    Args:
        folder: where it keeps the library that they load, and what it adds.
    """

    def __init__(self, folder: Path) -> None:
        library = folder / "clock.so"
        source = Path(__file__).parent / "clock.c"
        compiler = find_program("gcc")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", source, "-o", library], check=True)
        self._offset = folder / "offset"
        self._offset.write_bytes(struct.pack("=q", 0))
        self.environment = {
            "LD_PRELOAD": str(library),
            "CLOCK_OFFSET_FILE": str(self._offset),
        }

    def set(self, offset_s: int) -> None:
        """Let it be so much ahead, for all of them at once."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", offset_s))


@pytest.fixture(scope="module")
def clock(tmp_path_factory) -> Clock:
    """The clock of the processes."""
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, clock, engines) -> Iterator[Fleet]:
    """Two workers and two API processes whose clock can be set, on either."""
    folder = tmp_path_factory.mktemp("leases")
    bundle = make_tiny_bundle(folder / "bundle")
    settings = {**engines, **clock.environment, "REELSEEK_BUNDLE": str(bundle)}
    with Fleet(folder, settings) as running:
        yield running


@pytest.fixture(scope="module")
def ledger(fleet) -> Ledger:  # noqa: ARG001 (each has its own)
    """What this installation has acknowledged."""
    return Ledger()


@pytest.mark.timeout(600)
def test_a_worker_that_was_frozen_past_its_lease_writes_nothing(fleet, ledger, tmp_path):
    with fleet.client() as client:
        video_id = str(upload(client, long_video(tmp_path))["id"])
        ledger.accept(video_id)
        frozen = wait_for(lambda: worker_at(fleet, video_id), within_s=WITHIN_S, what="a worker")
        group = freeze(fleet, frozen)
        try:
            assert wait_until_processed(client, video_id, within_s=WITHIN_S)["state"] == "ready"
        finally:
            os.killpg(group, signal.SIGCONT)
    wait_for(lambda: "job_lost" in fleet.log_of(frozen).read_text(), within_s=WITHIN_S, what="it")
    check_everything(fleet, ledger)


@pytest.mark.timeout(600)
def test_a_job_that_is_announced_often_is_done_once(fleet, ledger, tmp_path):
    broker_url = fleet.settings.get("REELSEEK_BROKER_URL")
    settings = Settings(data_dir=fleet.data_dir, broker_url=broker_url)
    with fleet.client() as client, contextlib.closing(JobSender(settings)) as sender:
        for number in range(3):
            path = make_video(tmp_path / f"{number}.mp4", seconds=1.0 + number)
            accepted = upload(client, path)
            ledger.accept(str(accepted["id"]))
            for _ in range(10):
                sender.send(Task.INGEST_VIDEO, UUID(str(accepted["job_id"])))
        wait_for(lambda: "job_not_free" in fleet.logs(), within_s=WITHIN_S, what="a second worker")
    check_everything(fleet, ledger)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["ahead", "back"])
def test_a_clock_that_jumps_by_an_hour_loses_nothing(fleet, ledger, clock, tmp_path, step_s):
    video = make_video(tmp_path / "clip.mp4", seconds=1.0, size=(64, 48)).read_bytes()
    draw = random.Random(1)
    with Load(fleet, ledger, video, draw):
        time.sleep(CALM_S)
        clock.set(step_s)
        # whose lease ends an hour from now by the new clock
        fleet.kill_one(draw, [name for name in fleet.members if name.startswith("worker")])
        time.sleep(CALM_S)
    started = time.monotonic()
    check_everything(fleet, ledger)
    print(f"at rest after {time.monotonic() - started:.1f} s")  # noqa: T201 (for `make faults`)


def freeze(fleet: Fleet, name: str) -> int:
    """Stop a worker, on SQLite between two of its transactions; return its process group.

    One that is frozen inside a transaction keeps SQLite's only write lock, and all who write on
    that machine wait for it. PostgreSQL ends such a transaction.
    """
    group = fleet.members[name].process.pid
    while True:
        os.killpg(group, signal.SIGSTOP)
        if not holds_write_lock(group):
            return group
        os.killpg(group, signal.SIGCONT)
        time.sleep(0.05)


def holds_write_lock(pid: int) -> bool:
    """Tell whether a process is inside a writing transaction of SQLite."""
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any("WRITE" in words and str(pid) in words for words in locks)


def long_video(folder: Path) -> Path:
    """A video that takes a worker some seconds."""
    return make_video(folder / "long.mp4", seconds=120.0, size=(640, 480))


def worker_at(fleet: Fleet, video_id: str) -> str | None:
    """Return the worker that has begun with a video."""
    for name in fleet.members:
        log = fleet.log_of(name)
        if name.startswith("worker") and log.exists():
            lines = log.read_text(errors="replace").splitlines()
            if any("job_started" in line and video_id in line for line in lines):
                return name
    return None
