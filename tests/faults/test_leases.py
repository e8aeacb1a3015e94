"""A worker that is frozen past its lease, two workers on one job, and a clock that jumps."""

import contextlib
import os
import random
import signal
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


@pytest.fixture(scope="module")
def clock(tmp_path_factory) -> Path:
    """The file that says how far the clock of the processes is off."""
    path = tmp_path_factory.mktemp("clock") / "offset"
    path.write_text("+0")
    return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, clock) -> Iterator[Fleet]:
    """Two workers and two API processes whose clock can be set."""
    find_program("faketime")
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    folder = tmp_path_factory.mktemp("leases")
    settings = {
        "REELSEEK_BUNDLE": str(make_tiny_bundle(folder / "bundle")),
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        # what the kernel promises never to set: timeouts and sleeps
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Fleet(folder, settings) as running:
        yield running


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """What this installation has acknowledged."""
    return Ledger()


@pytest.mark.timeout(600)
def test_a_worker_that_was_frozen_past_its_lease_writes_nothing(fleet, ledger, tmp_path):
    with fleet.client() as client:
        video_id = str(upload(client, long_video(tmp_path))["id"])
        ledger.accept(video_id)
        frozen = wait_for(lambda: worker_at(fleet, video_id), within_s=WITHIN_S, what="a worker")
        group = fleet.members[frozen].process.pid
        os.killpg(group, signal.SIGSTOP)
        try:
            assert wait_until_processed(client, video_id, within_s=WITHIN_S)["state"] == "ready"
        finally:
            os.killpg(group, signal.SIGCONT)
    wait_for(lambda: "job_lost" in fleet.log_of(frozen).read_text(), within_s=WITHIN_S, what="it")
    check_everything(fleet, ledger)


@pytest.mark.timeout(600)
def test_a_job_that_is_announced_often_is_done_once(fleet, ledger, tmp_path):
    settings = Settings(data_dir=fleet.data_dir)
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
        clock.write_text(f"{step_s:+d}")
        # whose lease ends an hour from now by the new clock
        fleet.kill_one(draw, [name for name in fleet.members if name.startswith("worker")])
        time.sleep(CALM_S)
    started = time.monotonic()
    check_everything(fleet, ledger)
    print(f"at rest after {time.monotonic() - started:.1f} s")  # noqa: T201 (for `make faults`)


def long_video(folder: Path) -> Path:
    """A video that takes a worker some seconds."""
    return make_video(folder / "long.mp4", seconds=40.0, size=(640, 480))


def worker_at(fleet: Fleet, video_id: str) -> str | None:
    """Return the worker that has begun with a video."""
    for name in fleet.members:
        log = fleet.log_of(name)
        if name.startswith("worker") and log.exists():
            lines = log.read_text(errors="replace").splitlines()
            if any("job_started" in line and video_id in line for line in lines):
                return name
    return None
