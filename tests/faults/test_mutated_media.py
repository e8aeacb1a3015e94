"""Thousands of damaged videos through the real decoder: no hang, no leak, no unknown end.

`make faults` reads 10,000; `make test` a few (REELSEEK_FAULT_MEDIA). Each file follows from
REELSEEK_FAULT_SEED and its number alone, so any of them can be made again.
"""

import gc
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from model.video.clips import ClipReader, ClipShape
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.probe import probe
from model.video.segments import cut
from service.catalog.tables import JobState, VideoState
from tests import factories_ingest
from tests.factories_video import make_video
from tests.faults.mutations import mutate
from workers.ingest import ingest
from workers.resources import Resources
from workers.runner import run_job

FILES = int(os.environ.get("REELSEEK_FAULT_MEDIA", "150"))
SEED = int(os.environ.get("REELSEEK_FAULT_SEED", "1"))
IN_WORKER = max(4, FILES // 50)
AT_ONCE = min(4, len(os.sched_getaffinity(0)) + 1)
ROUND = 50
MAX_GROWTH_BYTES = 48 * 1024 * 1024
LONGEST_SEED_BYTES = 256 * 1024
MOST_SPANS = 5
ROOT = Path(__file__).parents[2]
BAD = ROOT / "tests" / "data" / "bad"
LIMITS = DecodeLimits(cpu_s=60, wall_s=600)
SHAPE = ClipShape(frames_per_clip=4, frame_size=64, resize_short=64, thumbnail_px=64)
UNWANTED = {"decode_time_limit", "sandbox_violation"}
"""A hang, and a decoder that needs what the sandbox forbids: both would be our fault."""


def documented_reasons() -> set[str]:
    """Return the reasons of the table in docs/security.md."""
    text = (ROOT / "docs" / "security.md").read_text()
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[bytes]:
    """Five good files and those of the collection that are worth damaging further."""
    folder = tmp_path_factory.mktemp("seeds")
    small = {"seconds": 1.5, "size": (96, 72)}
    good = [
        make_video(folder / "faststart.mp4", container_options={"movflags": "faststart"}, **small),
        make_video(folder / "h264.mkv", codec_options={"bf": "2"}, **small),
        make_video(folder / "vp9.webm", codec="libvpx-vp9", **small),
        make_video(folder / "h264.ts", **small),
        make_video(folder / "mpeg4.avi", codec="mpeg4", **small),
    ]
    bad = [path for path in sorted(BAD.iterdir()) if path.suffix in {".mp4", ".mkv", ".webm"}]
    kept = [path for path in bad if 1000 < path.stat().st_size < LONGEST_SEED_BYTES]
    return [path.read_bytes() for path in (*good * 4, *kept)]


def make_damaged(seeds: list[bytes], number: int, folder: Path) -> tuple[Path, str]:
    """Write damaged file `number`; return it and what was done to it."""
    draw = random.Random(f"{SEED} {number}")
    content, done = mutate(draw.choice(seeds), seeds, draw)
    path = folder / f"{number}.bin"
    path.write_bytes(content)
    return path, done


def read(path: Path, reader: str) -> str:
    """Probe a file and read its first clips; return how that ended."""
    try:
        facts = probe(path, limits=LIMITS)
        spans = cut(facts.duration_s, length_s=1, every_s=1)[:MOST_SPANS]
        with ClipReader(
            path, spans, shape=SHAPE, sampling="exact", reader=reader, limits=LIMITS
        ) as clips:
            for clip in clips:
                assert clip.frames.shape == (4, 64, 64, 3)
                assert clip.frames.dtype == np.uint8
    except VideoError as refusal:
        return refusal.reason
    return f"partial: {clips.report.reason}" if clips.report.is_partial else "whole"


def read_round(seeds: list[bytes], numbers: range, folder: Path) -> Iterator[tuple[str, str]]:
    """Read some damaged files, a few at once; yield what was done and how it ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def one(number: int) -> tuple[str, str]:
            path, done = make_damaged(seeds, number, folder)
            try:
                return f"{number} {done}", read(path, "decord" if number % 8 == 0 else "pyav")
            finally:
                path.unlink()

        yield from pool.map(one, numbers)


def held() -> tuple[int, int, int]:
    """Return open descriptors, child processes, and resident bytes of this process."""
    gc.collect()
    me = psutil.Process()
    return me.num_fds(), len(me.children(recursive=True)), me.memory_info().rss


@pytest.mark.timeout(300 + 5 * FILES)
def test_damaged_videos_end_as_documented_and_leave_nothing_behind(seeds, tmp_path):
    ends: Counter[str] = Counter()
    odd = {}
    before = held()
    for first in range(0, FILES, ROUND):
        numbers = range(first, min(FILES, first + ROUND))
        for done, end in read_round(seeds, numbers, tmp_path):
            ends[end] += 1
            if end in UNWANTED | {"decoder_crashed", "decode_memory_limit"}:
                odd[done] = end
        if first == 0:
            before = held()
    after = held()

    print(f"{FILES} damaged videos: {dict(ends.most_common())}; {odd}; {before} -> {after}")  # noqa: T201 (for `make faults`)
    assert {end.removeprefix("partial: ") for end in ends} - {"whole"} <= documented_reasons()
    assert not UNWANTED & set(ends), odd
    assert after[:2] == before[:2]
    assert after[2] - before[2] < MAX_GROWTH_BYTES
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def settings(settings):
    """Short segments, the CPU, few attempts."""
    quick = {"segment_s": 1.0, "segment_every_s": 1.0, "embed_batch": 4, "device": "cpu"}
    return settings.model_copy(update=quick)


@pytest.mark.timeout(300 + 10 * IN_WORKER)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_goes_on_among_damaged_videos(
    *, seeds, tmp_path, settings, sessions, storage, sender, bundle_dir
):
    factories_ingest.register(sessions, bundle_dir)
    good = make_video(tmp_path / "good.mp4", seconds=2)
    states: Counter[str] = Counter()
    with Resources(settings) as resources:
        run_job(
            factories_ingest.upload_file(sessions, storage, sender, good).job_id, ingest, resources
        )
        before = held()
        for number in range(IN_WORKER):
            path, done = make_damaged(seeds, -1 - number, tmp_path)
            accepted = factories_ingest.upload_file(sessions, storage, sender, path)
            run_job(accepted.job_id, ingest, resources)
            job = factories_ingest.get_job(sessions, accepted.job_id)
            video = factories_ingest.get_video(sessions, accepted.video_id)
            states[f"{video.state.value}: {video.reason}"] += 1
            assert job.state in {JobState.DONE, JobState.FAILED}, done
            assert video.reason is None or video.reason in documented_reasons(), done
        last = make_video(tmp_path / "last.mp4", seconds=2, seed=2)
        accepted = factories_ingest.upload_file(sessions, storage, sender, last)
        run_job(accepted.job_id, ingest, resources)
        after = held()

    print(f"{IN_WORKER} damaged videos in a worker: {dict(states.most_common())}")  # noqa: T201 (for `make faults`)
    assert factories_ingest.get_video(sessions, accepted.video_id).state is VideoState.READY
    assert after[1] == before[1]
    assert after[0] - before[0] <= 2  # a connection of the pool may be open now
    assert list(storage.staging.iterdir()) == []
