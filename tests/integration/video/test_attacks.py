"""Files that promise much, hide things or repeat themselves: refused, or read at their worth."""

import pytest

from model.video.clips import ClipReader, ClipShape
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.probe import probe
from model.video.segments import cut
from tests import factories_attacks as attacks
from tests.factories_video import make_video

LIMITS = DecodeLimits(cpu_s=30, wall_s=240)
SHAPE = ClipShape(frames_per_clip=4, frame_size=64, resize_short=64, thumbnail_px=64)
HOURS_46_IN_MS = 2**31 - 1
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("good") / "good.mp4").read_bytes()


@pytest.fixture(scope="module")
def mkv(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("good") / "good.mkv").read_bytes()


def read(path, reader="pyav"):
    """Return how many clips came, and what the child took."""
    facts = probe(path, limits=LIMITS)
    spans = cut(facts.duration_s, length_s=4, every_s=4)
    with ClipReader(
        path, spans, shape=SHAPE, sampling="exact", reader=reader, limits=LIMITS
    ) as clips:
        return len(list(clips)), clips


def reason_of(path):
    with pytest.raises(VideoError) as caught:
        read(path)
    assert caught.value.detail.endswith(".")
    return caught.value.reason


@pytest.mark.parametrize("count", [900, 1100, 20_000])
def test_more_streams_than_any_recording_has_are_refused(tmp_path, mp4, count):
    path = attacks.write(tmp_path / "tracks.mp4", attacks.with_tracks(mp4, count))
    assert reason_of(path) == "too_many_streams"


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_several_cameras_in_one_file_are_read(tmp_path, mp4, reader):
    path = attacks.write(tmp_path / "tracks.mp4", attacks.with_tracks(mp4, 8))

    num_clips, reading = read(path, reader)

    assert num_clips == 1
    fallback = ("decord can't read this file exactly; it was read with PyAV",)
    assert reading.report.problems == (() if reader == "pyav" else fallback)


@pytest.mark.parametrize("depth", [1000, 200_000])
def test_an_index_inside_an_index_inside_an_index_is_refused(tmp_path, mp4, depth):
    path = attacks.write(tmp_path / "nest.mp4", attacks.with_nesting(mp4, depth))
    assert reason_of(path) == "corrupt_index"


def test_a_packed_index_that_unpacks_to_a_gibibyte_is_refused(tmp_path, mp4):
    path = attacks.write(tmp_path / "bomb.mp4", attacks.with_compressed_index(mp4, 1024 * MIB))

    assert path.stat().st_size < 4 * MIB
    assert reason_of(path) in {"no_video_stream", "decode_memory_limit"}


def test_pictures_in_a_codec_without_a_name_are_refused(tmp_path, mp4):
    described = attacks.find_box(mp4, b"stsd")
    path = attacks.write(tmp_path / "nameless.mp4", attacks.replace_box(mp4, described, b""))
    assert reason_of(path) == "codec_not_allowed"


def test_a_duration_of_two_days_in_the_header_is_refused(tmp_path, mp4):
    path = attacks.write(tmp_path / "long.mp4", attacks.with_duration(mp4, HOURS_46_IN_MS))
    assert reason_of(path) == "duration_too_long"


def test_an_attached_file_is_neither_written_nor_in_the_way(tmp_path, mkv):
    escaped = tmp_path / "escaped"
    name = f"../../../..{escaped}"
    path = attacks.write(tmp_path / "attached.mkv", attacks.with_attachment(mkv, name, bytes(MIB)))

    assert read(path)[0] == 1
    assert list(tmp_path.iterdir()) == [path]
