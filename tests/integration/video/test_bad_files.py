"""Hostile and damaged files: refused or partly read as their index says, at a bounded cost.

The files are a copy of the project's collection; index.json beside them says what each is.
"""

import json
import os
import shutil
import socket
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from model.video.clips import ClipReader, ClipShape
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.probe import probe
from model.video.sample_times import sample_times
from model.video.segments import Span, cut
from model.video.transforms import to_square
from service.errors import RefusedMediaError
from service.footage import probe_upload
from service.settings import Settings

BAD = Path(__file__).parents[2] / "data" / "bad"
CATALOG = json.loads((BAD / "index.json").read_text())
INDEX = {entry["file"]: entry for entry in CATALOG["files"]}
MAX_NAME_BYTES = 255
HOSTILE_NAMES = [
    name
    for name in CATALOG["hostile_filenames"]
    if "/" not in name and "\0" not in name and len(name.encode()) <= MAX_NAME_BYTES
]
MEDIA = [name for name, entry in INDEX.items() if entry["category"] != "artefact"]
PARTIAL_OR_WHOLE = {"mp4_external_dref.mp4"}
"""The index accepts either; nothing outside is read, and the file itself is whole."""
CANARY_PORT = 18099
MAX_CPU_S = 30
MAX_MEMORY_BYTES = 1.5e9
LIMITS = DecodeLimits(cpu_s=MAX_CPU_S, wall_s=240)
SHAPE = ClipShape(frames_per_clip=4, frame_size=224, resize_short=268, thumbnail_px=320)


@pytest.fixture(scope="module")
def canary():
    """Listen where the playlists point to; the list fills with whoever connects."""
    callers = []
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", CANARY_PORT))
    listener.listen()

    def accept():
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            callers.append(address)
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield callers
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def read(path, *, reader="pyav", limits=LIMITS):
    """Probe a file and read all of its clips."""
    facts = probe(path, limits=limits)
    with ClipReader(
        path,
        cut(facts.duration_s, length_s=4, every_s=4),
        shape=SHAPE,
        sampling="exact",
        reader=reader,
        limits=limits,
    ) as clips:
        return list(clips), clips


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("name", MEDIA)
def test_every_file_comes_out_as_its_index_says(name, reader, canary):
    expected = INDEX[name]
    if expected["expected"] == "rejected":
        with pytest.raises(VideoError) as caught:
            read(BAD / name, reader=reader)
        assert caught.value.reason == expected["expected_reason"]
        assert caught.value.detail.endswith(".")
    else:
        clips, reading = read(BAD / name, reader=reader)
        is_damaged = expected["expected"] == "accepted_partial" and name not in PARTIAL_OR_WHOLE
        assert len(clips) >= 1
        assert reading.report.reason == (expected["expected_reason"] if is_damaged else None)
        assert reading.report.is_partial == is_damaged
        assert reading.cpu_s < MAX_CPU_S
        assert 0 < reading.peak_memory_bytes < MAX_MEMORY_BYTES
    assert canary == []


@pytest.mark.parametrize("name", ["model_pickle_canary.pt", "faiss_ntotal_2e40.faiss"])
def test_artefacts_are_no_videos(name):
    with pytest.raises(VideoError) as caught:
        probe(BAD / name, limits=LIMITS)
    assert caught.value.reason == "not_a_video"


def test_a_playlist_can_not_reach_the_file_beside_it(tmp_path):
    shutil.copy(BAD / "hls_to_local_video.mp4", tmp_path)
    sibling = tmp_path / "base_segment.ts"
    shutil.copy(BAD / "resolution_change.ts", sibling)
    os.utime(sibling, ns=(1, 1))

    with pytest.raises(VideoError) as caught:
        read(tmp_path / "hls_to_local_video.mp4")

    assert caught.value.reason == "container_not_allowed"
    assert sibling.stat().st_atime_ns == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "base_segment.ts",
        "hls_to_local_video.mp4",
    ]


def decode_in_sequence(path, spans):
    """Return the exact frames of spans by decoding all from the start, (spans, T, S, S, 3)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = [(frame.time, frame) for frame in container.decode(stream)]
    squares = [
        to_square(
            [frame for at, frame in shown if at <= time_s][-1].to_ndarray(format="rgb24"),
            resize_short=SHAPE.resize_short,
            frame_size=SHAPE.frame_size,
        )
        for span in spans
        for time_s in sample_times(span.start_s, span.end_s, SHAPE.frames_per_clip)
    ]
    return np.stack(squares).reshape(len(spans), -1, *squares[0].shape).astype(int)


@pytest.mark.parametrize(("reader", "most_apart"), [("pyav", 0), ("decord", 8)])
def test_frames_after_a_skip_are_not_garbage(reader, most_apart):
    path = BAD / "seek_poison_x264_444.mp4"
    spans = [Span(1, 9, 9.4), Span(2, 12, 12.4)]

    with ClipReader(
        path, spans, shape=SHAPE, sampling="exact", reader=reader, limits=LIMITS
    ) as reading:
        frames = np.stack([clip.frames for clip in reading]).astype(int)

    assert np.abs(frames - decode_in_sequence(path, spans)).mean() <= most_apart


def test_keyframes_after_a_skip_are_not_garbage():
    path = BAD / "seek_poison_x264_444.mp4"

    with ClipReader(
        path, [Span(0, 7, 7.4)], shape=SHAPE, sampling="keyframes", reader="pyav", limits=LIMITS
    ) as reading:
        (clip,) = list(reading)

    expected = decode_in_sequence(path, [Span(0, 7.25, 7.26)])[0]  # its third keyframe
    assert np.array_equal(clip.frames, expected)


def test_a_cut_file_is_sampled_where_it_has_pictures():
    clips, reading = read(BAD / "trunc_faststart_50.mp4")

    frames = clips[0].frames
    assert reading.report.frames_decoded == SHAPE.frames_per_clip
    assert len({frame.tobytes() for frame in frames}) == SHAPE.frames_per_clip


def test_a_single_frame_is_repeated():
    clips, _ = read(BAD / "valid_single_frame.mp4")

    assert len({frame.tobytes() for frame in clips[0].frames}) == 1


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_files_mean_nothing_to_the_decoder(tmp_path, name):
    path = tmp_path / name
    shutil.copy(BAD / "valid_2x2.mp4", path)

    assert probe(path, limits=LIMITS).codec == "mpeg4"


def test_the_service_refuses_with_the_same_reason():
    with pytest.raises(RefusedMediaError) as caught:
        probe_upload(BAD / "gif_renamed.mp4", Settings())

    assert caught.value.reason == "container_not_allowed"
    assert "GIF" in caught.value.detail


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(VideoError) as caught:
        probe(tmp_path, limits=LIMITS)
    assert caught.value.reason == "not_a_video"
