"""Many clients at once: do errors stay deliberate, memory flat and searches quick?

    python bench/load.py --seconds 600
    python bench/load.py --seconds 600 --streams 2000 --slow-uploads 500

An installation (API, worker, tuner) answers searches and takes uploads from clients that come back
as soon as they are answered; who is refused (429, 503) waits as long as it was told. Every upload
is another video: the same picture, followed by random bytes that no decoder looks at. Memory is
that of each process, looked at every 2 s; its slope is taken over the second half. Ends with 1 if
anything came that nobody meant: a connection cut, a 5xx other than 503 and 507.
"""

import argparse
import asyncio
import json
import resource
import statistics
import sys
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import av
import numpy as np
from _crowd import Crowd, Tally, run_for
from _memory import Memory
from _server import Server, serving

from service.catalog.session import make_engine, make_sessions, upgrade
from service.catalog.tables import Job, JobKind, utc_now
from service.settings import Settings

QUICK = {"requests_per_minute": "0", "searches_per_minute": "0", "event_streams_per_key": "50000"}


def main() -> None:
    """Run the load and print what came of it."""
    arguments = _arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="reelseek-load-") as name:
        settings = Settings(data_dir=Path(name), database_url=arguments.database)
        upgrade(settings.sqlalchemy_url)
        watched = _add_waiting_job(settings)
        video = _write_video(Path(name) / "load.mp4")
        environment = {f"REELSEEK_{key.upper()}": value for key, value in QUICK.items()}
        if arguments.database:
            environment["REELSEEK_DATABASE_URL"] = arguments.database
        with serving(settings, with_workers=True, environment=environment) as server:
            crowd, memory = _load(server, video, watched, arguments)
    _print(crowd, memory, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(_told(crowd, memory)))
    sys.exit(any(tally.num_errors for tally in crowd.tallies.values()))


def _load(
    server: Server, video: bytes, watched: str, arguments: argparse.Namespace
) -> tuple[Crowd, Memory]:
    crowd = Crowd(server, video)
    clients = [crowd.search] * arguments.searches + [crowd.upload] * arguments.uploads
    clients += [crowd.upload_slowly] * arguments.slow_uploads
    clients += [partial(crowd.watch, watched)] * arguments.streams
    with Memory() as memory:
        asyncio.run(run_for(arguments.seconds, clients, at_end=crowd.count_open))
    return crowd, memory


def _print(crowd: Crowd, memory: Memory, arguments: argparse.Namespace) -> None:
    seconds = arguments.seconds
    print(f"{seconds:g} s, {arguments.searches} searching, {arguments.uploads} uploading, ", end="")
    print(f"{arguments.slow_uploads} uploading slowly, {arguments.streams} watching\n")
    print("| request | per s | answered | refused | errors | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for kind, tally in crowd.tallies.items():
        print(_row(kind, tally, seconds))
    print(f"\nopen at the end: {crowd.num_streams} streams, {crowd.num_dripping} slow uploads")
    for kind, tally in crowd.tallies.items():
        statuses = dict(sorted(tally.statuses.items()))
        print(f"\n{kind}: statuses {statuses}, refusals {dict(tally.reasons)}", end="")
    print("\n\n| process | first MiB | last | peak | slope MiB/min |\n|---|---|---|---|---|")
    for name, course in memory.courses().items():
        print(
            f"| {name} | {course.first_mib:.0f} | {course.last_mib:.0f} | {course.peak_mib:.0f} "
            f"| {course.slope_mib_per_min:+.2f} |"
        )


def _told(crowd: Crowd, memory: Memory) -> dict[str, object]:
    answered = {kind: len(tally.took_s) for kind, tally in crowd.tallies.items()}
    slopes = {name: course.slope_mib_per_min for name, course in memory.courses().items()}
    return {"answered": answered, "slopes": slopes, "streams": crowd.num_streams}


def _row(kind: str, tally: Tally, seconds: float) -> str:
    total, answered = tally.statuses.total(), len(tally.took_s)
    refused = total - answered - tally.num_errors
    times = [1000 * took_s for took_s in tally.took_s] or [float("nan")]
    p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0]
    return (
        f"| {kind} | {total / seconds:.1f} | {answered} | {refused} | {tally.num_errors} "
        f"| {statistics.median(times):.0f} | {p99:.0f} |"
    )


def _add_waiting_job(settings: Settings) -> str:
    """Add a job that nobody takes before tomorrow; return the path of its events."""
    engine = make_engine(settings.sqlalchemy_url)
    with make_sessions(engine).begin() as session:
        tomorrow = utc_now() + timedelta(days=1)
        job = Job(kind=JobKind.DELIVER, subject_id=uuid4(), version=1, not_before=tomorrow)
        session.add(job)
        session.flush()
        path = f"/v1/jobs/{job.id}/events"
    engine.dispose()
    return path


def _write_video(path: Path) -> bytes:
    """Return two seconds of a bar that moves."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for left in range(0, 60, 3):
            picture = np.full((48, 64, 3), 40, np.uint8)
            picture[:, left : left + 8] = (250, 200, 60)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--searches", type=int, default=500, help="clients that search")
    parser.add_argument("--uploads", type=int, default=50, help="clients that upload")
    parser.add_argument("--streams", type=int, default=0, help="idle event streams")
    parser.add_argument("--slow-uploads", type=int, default=0, help="uploads at 4 KiB/s")
    parser.add_argument("--json", type=Path, help="file for what a program wants to know of it")
    parser.add_argument("--database", help="URL of an empty database; SQLite if unset")
    return parser.parse_args()


if __name__ == "__main__":
    main()
