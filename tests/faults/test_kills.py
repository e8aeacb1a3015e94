"""kill -9 of API processes and workers at random moments, under steady uploads and deletes.

`make faults` kills 1,000 times, half of them on each kind of installation; `make test` a few times
(REELSEEK_FAULT_INGEST_KILLS). REELSEEK_FAULT_SEED chooses the moments.
"""

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.faults.fleet import Fleet
from tests.faults.load import Ledger, Load, check_everything

KILLS = int(os.environ.get("REELSEEK_FAULT_INGEST_KILLS", "16"))
SEED = int(os.environ.get("REELSEEK_FAULT_SEED", "1"))
ROUND = 50
"""Kills between two looks at everything."""
PAUSE_S = (0.1, 3.0)
MOST_PAUSE_S = 30.0


@pytest.fixture
def fleet(engines, tmp_path) -> Iterator[Fleet]:
    """Two APIs and two workers, on either."""
    settings = {
        **engines,
        "REELSEEK_BUNDLE": str(make_tiny_bundle(tmp_path / "bundle")),
        # no job is given up because its worker was killed too often: here all of them are
        "REELSEEK_JOB_ATTEMPTS": "20",
    }
    with Fleet(tmp_path, settings) as running:
        yield running


@pytest.mark.timeout(600 + 30 * KILLS)
def test_nothing_is_lost_or_doubled_whatever_is_killed(fleet, tmp_path):
    draw = random.Random(SEED)
    ledger = Ledger()
    video = make_video(tmp_path / "clip.mp4", seconds=1.0, size=(64, 48)).read_bytes()
    wanted = max(1, KILLS // 2)
    while (left := wanted - fleet.killed.total()) > 0:
        until = fleet.killed.total() + min(left, ROUND)
        with Load(fleet, ledger, video, draw):
            while fleet.killed.total() < until and not ledger.broken:
                wait_for_work(ledger)
                time.sleep(draw.uniform(*PAUSE_S))
                fleet.kill_one(draw)
        check_everything(fleet, ledger)
    print(f"killed {dict(fleet.killed)}; {dict(ledger.counts)}")  # noqa: T201 (for `make faults`)


def wait_for_work(ledger: Ledger) -> None:
    """Wait until something is acknowledged: else a slow machine is killed only while it starts."""
    before, until = work_of(ledger), time.monotonic() + MOST_PAUSE_S
    while work_of(ledger) == before and not ledger.broken and time.monotonic() < until:
        time.sleep(0.02)


def work_of(ledger: Ledger) -> int:
    return ledger.counts["uploads"] + ledger.counts["deletes"]
