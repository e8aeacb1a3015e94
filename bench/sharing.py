"""Do uploads starve while a model is tuned on the same machine?

    python bench/sharing.py [--videos 4] [--duration 20]

Uploads videos, turn by turn while nothing else runs and while a tuning run trains, and compares how
long each takes from upload to searchable. Also says how many steps the tuning made, so that it is
seen to have run.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from _footage import write_footage
from _server import serving
from closed_loop import ask

from service.catalog.session import upgrade
from service.settings import Settings

MANY_STEPS = 1_000_000
POLL_S = 0.05


def main() -> None:
    """Measure and print one line per way."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="reelseek-bench-") as folder:
        settings = Settings(data_dir=Path(folder) / "data", bundle=None, database_url=None)
        settings.data_dir.mkdir()
        upgrade(settings.sqlalchemy_url)
        footage = [Path(folder) / f"{number}.mp4" for number in range(2 * options.videos + 2)]
        for seed, path in enumerate(footage):
            write_footage(path, duration_s=options.duration, seed=seed)
        with (
            serving(settings, with_workers=True) as server,
            httpx.Client(
                base_url=f"http://127.0.0.1:{server.port}", headers=server.headers, timeout=120
            ) as client,
        ):
            for number, path in enumerate(footage[:2]):  # warms up, and is learned from
                _took, video_id = ingest(client, path)
                for text in ("squares cross the picture", f"texture number {number} drifts"):
                    ask(client, "POST", f"/v1/videos/{video_id}/captions", json={"text": text})
            quiet, busy = [], []
            for first, second in zip(footage[2::2], footage[3::2], strict=True):
                quiet.append(ingest(client, first)[0])
                with_tuning = start_tuning(client)
                busy.append(ingest(client, second)[0])
                steps = stop_tuning(client, with_tuning)
    median = statistics.median
    print(f"alone: {median(quiet):.2f} s, beside a tuning: {median(busy):.2f} s (median)")
    print(f"ratio {median(b / q for b, q in zip(busy, quiet, strict=True)):.2f}; steps: {steps}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=4, help="each way")
    parser.add_argument("--duration", type=float, default=20.0, help="of a video, seconds")
    return parser.parse_args()


def ingest(client: httpx.Client, path: Path) -> tuple[float, str]:
    """Upload a video; return how long it took until it was searchable, and its id."""
    began = time.monotonic()
    with path.open("rb") as file:
        video_id = ask(client, "POST", "/v1/videos", files={"file": (path.name, file)})["id"]
    while (state := ask(client, "GET", f"/v1/videos/{video_id}")["state"]) != "ready":
        if state in {"failed", "partial"}:
            raise SystemExit(f"{path.name} ended as {state}")
        time.sleep(POLL_S)
    return time.monotonic() - began, video_id


def start_tuning(client: httpx.Client) -> dict[str, Any]:
    """Start a run that does not end by itself, and wait until it trains."""
    wanted = {"steps": MANY_STEPS, "batch": 2, "held_out_share": 0}
    asked: dict[str, Any] = ask(client, "POST", "/v1/tunings", json=wanted)
    while not points(client, asked):
        time.sleep(POLL_S)
    return asked


def points(client: httpx.Client, asked: dict[str, Any]) -> list[Any]:
    """Return what is known of the steps of a run."""
    found: list[Any] = ask(client, "GET", f"/v1/tunings/{asked['id']}/points")["points"]
    return found


def stop_tuning(client: httpx.Client, asked: dict[str, Any]) -> int:
    """Cancel a run, wait until it has stopped, and return how many steps it made."""
    steps: int = points(client, asked)[-1]["step"]
    ask(client, "POST", f"/v1/tunings/{asked['id']}/cancel")
    while ask(client, "GET", f"/v1/tunings/{asked['id']}")["state"] != "cancelled":
        time.sleep(POLL_S)
    return steps


if __name__ == "__main__":
    main()
