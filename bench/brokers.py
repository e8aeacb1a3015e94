"""Does a worker that gets its messages from Redis take short jobs as quickly as one with a folder?

    python bench/brokers.py [--videos 40] [--rounds 2] [--redis-server PROGRAM]

Uploads many videos of the demo (4 s each), one after another, turn by turn to an installation whose
messages lie in a folder and to one that has a Redis (started for this), and takes the time until
all of them are searchable. Where workers keep up, that is the time that the uploads take.
"""

import argparse
import contextlib
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from _server import Server, serving
from closed_loop import ask

from model.world.movies import demo_videos
from service.catalog.session import upgrade
from service.settings import Settings

POLL_S = 0.05
START_S = 30.0


def main() -> None:
    """Measure and print a line each."""
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="reelseek-bench-") as name,
        contextlib.ExitStack() as on,
    ):
        folder = Path(name)
        url = on.enter_context(redis(options.redis_server, folder))
        brokers = {"folder": {}, "redis": {"REELSEEK_BROKER_URL": url}}
        footage = demo_videos(folder / "footage", count=options.videos + 1)
        took: dict[str, list[float]] = {broker: [] for broker in brokers}
        for number in range(options.rounds):
            for broker, environment in brokers.items():
                settings = Settings(
                    data_dir=folder / f"{broker}-{number}", bundle=None, database_url=None
                )
                settings.data_dir.mkdir()
                upgrade(settings.sqlalchemy_url)
                with serving(settings, with_workers=True, environment=environment) as server:
                    took[broker].append(ingest_all(server, footage))
    for broker, seconds in took.items():
        median_s = statistics.median(seconds)
        print(f"{broker:7} {options.videos} videos searchable after {median_s:.1f} s")
    ratios = [b / a for a, b in zip(took["folder"], took["redis"], strict=True)]
    print(f"ratio   {statistics.median(ratios):.2f} (median of {options.rounds} rounds)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=40, help="59 at most")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--redis-server", default="redis-server", help="program to start")
    return parser.parse_args()


def ingest_all(server: Server, footage: list[Path]) -> float:
    """Upload all but the first, which warms up; return how long it took until all were ready."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}", headers=server.headers, timeout=120
    ) as client:
        upload(client, footage[0])
        wait_for(client, 1)
        began = time.monotonic()
        for path in footage[1:]:
            upload(client, path)
        wait_for(client, len(footage))
        return time.monotonic() - began


def upload(client: httpx.Client, path: Path) -> None:
    """Upload a video."""
    with path.open("rb") as file:
        ask(client, "POST", "/v1/videos", files={"file": (path.name, file)})


def wait_for(client: httpx.Client, number: int) -> None:
    """Wait until so many videos are searchable."""
    while (videos := ask(client, "GET", "/v1/system")["videos"])["ready"] < number:
        if videos["failed"] or videos["partial"]:
            raise SystemExit(f"not all were ingested: {videos}")
        time.sleep(POLL_S)


@contextlib.contextmanager
def redis(program: str, folder: Path) -> Iterator[str]:
    """Run a Redis and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
        try:
            give_up = time.monotonic() + START_S
            while time.monotonic() < give_up:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(POLL_S)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
