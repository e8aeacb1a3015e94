"""What the sandbox of the decoder costs: reading with it, beside reading without.

    python bench/sandbox.py [--duration 20] [--rounds 5] [--video FILE] [--reader decord] [--json]

Each round probes one video and reads all of its clips, in a child that locks itself up and in one
that does not, in turns; then the same of a video of two seconds, where starting the child is most
of it. Decoding is the part of ingest that the sandbox can slow down, so its ratio bounds that of
ingest. The ratios are medians of neighbours, because the machine may be busy.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from _footage import write_footage

from model.video.limits import DecodeLimits
from model.video.probe import probe
from model.video.sandbox import capabilities
from model.video.segments import cut

SPAN_S = 4.0
SHORT_S = 2.0
SHAPE = {
    "frames_per_clip": 3,
    "frame_size": 224,
    "resize_short": 256,
    "thumbnail_px": 320,
    "fit": "crop",
    "resample": "bilinear",
}
OPEN = """
import sys
from model.video import child, confinement

confinement.leave_folder = lambda: None
confinement.leave_network = lambda: False
confinement.limit_resources = lambda **limits: None
confinement.lock = lambda **options: confinement.Locked(0, False, False)
child.main()
"""
"""The child without any of the layers."""
LOCKED = ["-m", "model.video.child"]


@dataclass(frozen=True)
class Row:
    """One video, read both ways.

    Attributes:
        video_s: its length.
        open_s: seconds that probing and reading took without the sandbox, median.
        locked_s: the same with it.
        ratio: with to without, median of neighbours.
        cpu_ratio: the same of CPU time, which other load changes less.
    """

    video_s: float
    open_s: float
    locked_s: float
    ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class Cost:
    """Seconds that passed, and seconds of CPU that children used."""

    wall_s: float
    cpu_s: float


class Bench:
    """One video, read again and again."""

    def __init__(self, video: Path, reader: str) -> None:
        limits = asdict(DecodeLimits())
        self.video = video
        self.duration_s = probe(video, limits=DecodeLimits()).duration_s
        spans = cut(self.duration_s, length_s=SPAN_S, every_s=SPAN_S)
        self.requests: list[dict[str, object]] = [
            {"task": "probe", "limits": limits},
            {
                "task": "clips",
                "spans": [[span.ordinal, span.start_s, span.end_s] for span in spans],
                "shape": SHAPE,
                "sampling": "exact",
                "reader": reader,
                "limits": limits,
            },
        ]

    def read(self, how: list[str]) -> Cost:
        """Probe the video and read its clips; return what that cost."""
        began, cpu = time.perf_counter(), children_cpu_s()
        for request in self.requests:
            run(how, self.video, request)
        return Cost(time.perf_counter() - began, children_cpu_s() - cpu)

    def measure(self, rounds: int) -> Row:
        """Read with and without the sandbox in turns."""
        self.read(LOCKED)  # everything is in the page cache now
        pairs = [(self.read(["-c", OPEN]), self.read(LOCKED)) for _ in range(rounds)]
        return Row(
            video_s=self.duration_s,
            open_s=statistics.median(free.wall_s for free, _ in pairs),
            locked_s=statistics.median(locked.wall_s for _, locked in pairs),
            ratio=statistics.median(locked.wall_s / free.wall_s for free, locked in pairs),
            cpu_ratio=statistics.median(locked.cpu_s / free.cpu_s for free, locked in pairs),
        )


def run(how: list[str], video: Path, request: dict[str, object]) -> None:
    """Run one child to its end; its standard input stays open, or it would end itself."""
    with video.open("rb") as file:
        command = [sys.executable, "-P", "-s", *how, str(file.fileno())]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[file.fileno()],
            start_new_session=True,
        ) as child:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            if child.wait() != 0:
                raise SystemExit(f"the child failed with status {child.returncode}")


def children_cpu_s() -> float:
    """Return the CPU time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--duration", type=float, default=20.0, help="of the made video, seconds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--video", type=Path, help="measure with this video instead")
    parser.add_argument("--reader", choices=["pyav", "decord"], default="pyav")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    layers = capabilities()
    with tempfile.TemporaryDirectory(prefix="reelseek-bench-") as folder:
        short, long = Path(folder) / "short.mp4", options.video or Path(folder) / "long.mp4"
        write_footage(short, duration_s=SHORT_S)
        if options.video is None:
            write_footage(long, duration_s=options.duration)
        rows = [Bench(video, options.reader).measure(options.rounds) for video in (short, long)]
    if options.json:
        print(json.dumps({"layers": asdict(layers), "rows": [asdict(row) for row in rows]}))
        return
    print(f"{layers}, {os.cpu_count()} cores")
    print("| video | without | with the sandbox | ratio | in CPU time |")
    print("|---|---|---|---|---|")
    for row in rows:
        figures = (
            f"{row.open_s:.2f} s | {row.locked_s:.2f} s | {row.ratio:.3f} | {row.cpu_ratio:.3f}"
        )
        print(f"| {row.video_s:.0f} s | {figures} |")


if __name__ == "__main__":
    main()
