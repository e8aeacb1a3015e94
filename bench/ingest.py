"""Ingest speed as a multiple of real time, beside decoding the same frames alone.

    python bench/ingest.py [--duration 60] [--rounds 3] [--video FILE] [--bundle DIR] [--json]

Each round times, one after another: the reader alone on one video; ingest of one video (claim,
decode, embed, files, commit, on a real SQLite and real files); the reader on two videos at once;
ingest of two videos at once. The ratio is the median of the ratios of neighbours, because the
machine may be busy. The bundle is loaded before; uploading is not timed.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import structlog
from _footage import write_footage

from model.bundle import bundle_digest
from model.video.limits import DecodeLimits
from model.video.probe import VideoFacts, probe
from model.video.segments import cut
from service.catalog.generation_queries import ActiveGeneration, ensure_active_generation
from service.catalog.session import in_transaction, upgrade
from service.catalog.tables import Job, JobState
from service.metadata import UploadMetadata
from service.settings import Settings
from service.uploads import Upload, accept
from workers.ingest import ingest, open_reader
from workers.resources import Resources
from workers.runner import run_job


@dataclass(frozen=True)
class Row:
    """One way of running, measured.

    Attributes:
        videos: how many at once.
        decode_s: seconds that the reader alone took, median.
        ingest_s: seconds that ingest took, median.
        decode_speed: seconds of video read per second.
        ingest_speed: seconds of video ingested per second: the multiple of real time.
        ratio: ingest to decoding alone, median of neighbours.
        cpu_ratio: the same of CPU seconds of all processes, which other load changes less.
    """

    videos: int
    decode_s: float
    ingest_s: float
    decode_speed: float
    ingest_speed: float
    ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class Cost:
    """Seconds that passed, and seconds that cores were busy for us."""

    wall_s: float
    cpu_s: float


class Bench:
    """An installation of its own and the videos that are ingested into it again and again."""

    def __init__(self, resources: Resources, generation: ActiveGeneration, video: Path) -> None:
        self.resources = resources
        self.video = video
        with resources.embedder(generation) as embedder:  # loads it
            self.spec = embedder.spec
        self.facts: VideoFacts = probe(video, limits=DecodeLimits())
        self._num_uploads = 0

    def decode(self, count: int) -> Cost:
        """Return what reading all clips of `count` videos at once costs."""
        return timed([self._decode_one] * count)

    def ingest(self, count: int) -> Cost:
        """Return what ingesting `count` videos at once costs."""
        jobs = [self._upload() for _ in range(count)]
        cost = timed([lambda job=job: run_job(job, ingest, self.resources) for job in jobs])
        with self.resources.sessions() as session:
            for job in jobs:
                if session.get_one(Job, job).state is not JobState.DONE:
                    raise SystemExit(f"job {job} failed")
        return cost

    def _decode_one(self) -> None:
        settings = self.resources.settings
        spans = cut(
            self.facts.duration_s, length_s=settings.segment_s, every_s=settings.segment_every_s
        )
        with open_reader(self.video, spans, self.spec, settings) as reader:
            for _clip in reader:
                pass

    def _upload(self) -> UUID:
        """Accept the video as one that was never seen before."""
        self._num_uploads += 1
        padding = self._num_uploads.to_bytes(4, "big")
        free_atom = (8 + len(padding)).to_bytes(4, "big") + b"free" + padding
        with self.resources.storage.open_staging() as staging, self.video.open("rb") as file:
            while chunk := file.read(1 << 20):
                staging.write(chunk)
            staging.write(free_atom)
            staged = staging.finish()
        upload = Upload(
            staged=staged, file_name="bench.mp4", metadata=UploadMetadata(), facts=self.facts
        )
        return accept(
            upload,
            sessions=self.resources.sessions,
            storage=self.resources.storage,
            sender=self.resources.sender,
        ).job_id


def timed(works: Sequence[Callable[[], None]]) -> Cost:
    """Return what some works cost side by side."""
    threads = [threading.Thread(target=work) for work in works]
    began, cpu = time.perf_counter(), cpu_seconds()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Cost(time.perf_counter() - began, cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(bench: Bench, *, videos: int, rounds: int) -> Row:
    """Time the reader and ingest in turns."""
    bench.decode(videos)  # the file is in the page cache now
    pairs = [(bench.decode(videos), bench.ingest(videos)) for _ in range(rounds)]
    decode_s = statistics.median(decode.wall_s for decode, _ in pairs)
    ingest_s = statistics.median(ingest.wall_s for _, ingest in pairs)
    footage_s = videos * bench.facts.duration_s
    return Row(
        videos=videos,
        decode_s=decode_s,
        ingest_s=ingest_s,
        decode_speed=footage_s / decode_s,
        ingest_speed=footage_s / ingest_s,
        ratio=statistics.median(ingest.wall_s / decode.wall_s for decode, ingest in pairs),
        cpu_ratio=statistics.median(ingest.cpu_s / decode.cpu_s for decode, ingest in pairs),
    )


@contextmanager
def opened(folder: Path, bundle: Path | None, video: Path) -> Iterator[Bench]:
    """Make an installation below a folder."""
    settings = Settings(data_dir=folder, bundle=bundle, database_url=None, broker_url=None)
    upgrade(settings.sqlalchemy_url)
    with Resources(settings) as resources:
        path = settings.bundle_path.absolute()
        generation = in_transaction(
            resources.sessions,
            lambda session: ensure_active_generation(
                session, name="bench", digest=bundle_digest(path), path=str(path), spec={}
            ),
        )
        yield Bench(resources, generation, video)


def show(rows: Sequence[Row], facts: VideoFacts, *, as_json: bool) -> None:
    """Print the figures."""
    about = {**asdict(facts), "cores": os.cpu_count()}
    if as_json:
        print(json.dumps({"video": about, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    size = f"{facts.width} x {facts.height}, {facts.frame_rate:g} frames/s"
    print(f"{facts.duration_s:.0f} s of {facts.codec}, {size}, {about['cores']} cores")
    print("| videos at once | decode alone | ingest | ingest / decode | in CPU time |")
    print("|---|---|---|---|---|")
    for row in rows:
        decode = f"{row.decode_s:.1f} s, {row.decode_speed:.1f} x real time"
        whole = f"{row.ingest_s:.1f} s, {row.ingest_speed:.1f} x real time"
        print(f"| {row.videos} | {decode} | {whole} | {row.ratio:.2f} | {row.cpu_ratio:.2f} |")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--duration", type=float, default=60.0, help="of the made video, seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--video", type=Path, help="measure with this video instead")
    parser.add_argument("--bundle", type=Path, help="the bundled one if not given")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="reelseek-bench-") as folder:
        video = options.video
        if video is None:
            video = Path(folder) / "footage.mp4"
            write_footage(video, duration_s=options.duration)
        with opened(Path(folder) / "data", options.bundle, video) as bench:
            rows = [measure(bench, videos=n, rounds=options.rounds) for n in (1, 2)]
            show(rows, bench.facts, as_json=options.json)


if __name__ == "__main__":
    main()
