"""kill -9 at random moments of tuning, evaluating, embedding anew and switching.

`make faults` kills 50 times; `make test` a few times (REELSEEK_FAULT_KILLS).
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run
from sys import executable

import httpx
import pytest

from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.faults.processes import kill, processes_of

KILLS = int(os.environ.get("REELSEEK_FAULT_KILLS", "4"))
SEED = int(os.environ.get("REELSEEK_FAULT_SEED", "1"))
VIDEOS = 4
ENDED = {"done", "failed", "cancelled"}
WITHIN_S = 240.0
GRACE_S = 2.0


@dataclass
class Killer:
    """Kills one process of an installation after a random time."""

    data_dir: Path
    draw: random.Random
    killed: Counter[str] = field(default_factory=Counter)

    def strike_within(self, seconds: float) -> threading.Thread:
        """Kill one, chosen at random, at a moment chosen at random."""
        thread = threading.Thread(target=self._strike, args=(self.draw.uniform(0, seconds),))
        thread.start()
        return thread

    def _strike(self, delay_s: float) -> None:
        time.sleep(delay_s)
        targets = {
            pid: kind
            for pid, command in processes_of(self.data_dir).items()
            if (kind := kind_of(command))
        }
        if targets:
            pid = self.draw.choice(sorted(targets))
            self.killed[targets[pid]] += kill(pid)


def kind_of(command: str) -> str | None:
    """Return what a process is; None for the supervisor, which has no one to restart it."""
    kinds = {
        "workers.tuning.process": "training",
        "tuner@": "tuner",
        "worker@": "worker",
        " api ": "api",
    }
    return next((kind for part, kind in kinds.items() if part in command), None)


@pytest.fixture
def service(tmp_path) -> Iterator[LiveService]:
    live = LiveService(
        tmp_path / "data",
        {
            "REELSEEK_BUNDLE": str(make_tiny_bundle(tmp_path / "bundle")),
            "REELSEEK_JOB_LEASE_S": "3",
            "REELSEEK_ORPHAN_GRACE_S": str(GRACE_S),
            "REELSEEK_TUNING_CHECKPOINT_S": "0.5",
        },
    )
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.stop()


@pytest.mark.timeout(60 * max(10, KILLS))
def test_a_loop_that_is_killed_at_random_moments_ends_right(service, tmp_path):
    draw = random.Random(SEED)
    killer = Killer(service.data_dir, draw)
    with service.client() as client:
        videos = fill(client, tmp_path)
        evaluation_set = client.post("/v1/evaluation-sets", json=queries(videos)).json()
        started = 0
        while started < KILLS:
            for story in (tune, activate, evaluate):
                strike = killer.strike_within(draw.choice((1.0, 4.0, 12.0)))
                story(client, evaluation_set["id"])
                strike.join()
                started += 1
            check_catalog(service)
        print(f"killed {sum(killer.killed.values())}: {dict(killer.killed)}")  # noqa: T201 (what `make faults` shows)
        wait_for(lambda: no_leftovers(service.data_dir), within_s=60, what="the sweep")
    service.stop()
    assert not processes_of(service.data_dir)


def fill(client: httpx.Client, folder: Path) -> list[str]:
    """Upload a few videos with captions."""
    videos = []
    for number in range(VIDEOS):
        path = make_video(folder / f"{number}.mp4", seconds=4 + number)
        video_id = str(upload(client, path)["id"])
        wait_until_processed(client, video_id)
        for text in (f"picture number {number}", f"the test picture called {number}"):
            sent = client.post(f"/v1/videos/{video_id}/captions", json={"text": text})
            sent.raise_for_status()
        videos.append(video_id)
    return videos


def queries(videos: list[str]) -> dict:
    asked = [{"text": f"picture {n}", "video_id": video} for n, video in enumerate(videos)]
    return {"name": "faults", "queries": asked}


def tune(client: httpx.Client, _set_id: str) -> None:
    """Tune; a candidate comes out whatever was killed meanwhile."""
    asked = insist(client, "POST", "/v1/tunings", json={"steps": 12, "batch": 2, "seed": 1})
    tuning = wait_for_end(client, f"/v1/tunings/{asked['id']}")
    assert tuning["state"] == "done", tuning
    assert tuning["candidate_version"]
    assert tuning["report"]["verdict"] == "not_enough_to_tell"


def activate(client: httpx.Client, _set_id: str) -> None:
    """Switch to the newest candidate; every video is searched with it afterwards."""
    models = insist(client, "GET", "/v1/models")["models"]
    newest = max((one for one in models if one["state"] == "candidate"), key=created)
    asked = insist(client, "POST", f"/v1/models/{newest['id']}/activate")
    activation = wait_for_end(client, f"/v1/activations/{asked['activation_id']}")
    assert activation["state"] == "done", activation

    def follows() -> bool:
        answer = insist(client, "POST", "/v1/search", json={"text": "picture", "limit": 50})
        found = {moment["video_id"] for moment in answer["moments"]}
        return answer["receipt"]["model_version_id"] == newest["id"] and len(found) == VIDEOS

    wait_for(follows, within_s=WITHIN_S, what="searching with the new model")


def evaluate(client: httpx.Client, set_id: str) -> None:
    """Run the evaluation set."""
    asked = insist(client, "POST", f"/v1/evaluation-sets/{set_id}/runs")
    run_id = asked["id"]
    job = wait_for_end(client, f"/v1/jobs/{asked['job_id']}")
    assert job["state"] == "done", job
    assert insist(client, "GET", f"/v1/evaluation-runs/{run_id}")["figures"]


def created(model: dict) -> str:
    return model["created_at"]


def insist(client: httpx.Client, method: str, path: str, **options) -> dict:
    """Ask again while the API is away or not ready."""

    def ask() -> httpx.Response | None:
        try:
            response = client.request(method, path, **options)
        except httpx.TransportError:
            return None
        return None if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else response

    response = wait_for(ask, within_s=WITHIN_S, what=f"an answer to {method} {path}")
    assert response.is_success, response.text
    return response.json()


def wait_for_end(client: httpx.Client, path: str) -> dict:
    def look() -> dict | None:
        found = insist(client, "GET", path)
        return found if found["state"] in ENDED else None

    return wait_for(look, within_s=WITHIN_S, what=f"the end of {path}")


def check_catalog(service: LiveService) -> None:
    """Have the audit command look for anything that does not fit."""
    audit = run(
        [executable, "-m", "service.cli", "audit"],
        env={**os.environ, "REELSEEK_DATA_DIR": str(service.data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert audit.returncode == 0, audit.stdout + audit.stderr


def no_leftovers(data_dir: Path) -> bool:
    """Tell whether the sweep has removed every folder that nothing needs any more."""
    return not any((data_dir / "tunings").glob("*")) and not any((data_dir / "staging").glob("*"))
