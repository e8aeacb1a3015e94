"""Clips show the frames that are displayed at the times asked for."""

import io
import signal
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image

from model.video.clips import ClipReader, ClipShape
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.probe import probe
from model.video.sample_times import sample_times
from model.video.segments import Span, cut
from tests.factories_video import make_video, read_number

SHAPE = ClipShape(frames_per_clip=3, frame_size=112, resize_short=134, thumbnail_px=160)
ZOOM = SHAPE.resize_short / SHAPE.frame_size
LIMITS = DecodeLimits(cpu_s=60, wall_s=120)
UNEVEN = [0, 0.1, 0.15, 0.9, 1.0, 2.5]
FORMATS = {
    "h264.mp4": {},
    "open gop.mp4": {"codec_options": {"x264-params": "open-gop=1:bframes=3"}},
    "intra refresh.mp4": {"codec_options": {"x264-params": "intra-refresh=1"}},
    "odd size 444.mp4": {"size": (161, 121), "pixel_format": "yuv444p"},
    "hevc 10 bit.mp4": {
        "codec": "libx265",
        "pixel_format": "yuv420p10le",
        "codec_options": {"x265-params": "log-level=none"},
    },
    "av1.mp4": {"codec": "libsvtav1"},
    "mpeg4.mkv": {"codec": "mpeg4", "codec_options": {"bf": "2"}},
    "late start.mkv": {"start_s": 5.0},
    "transport stream.ts": {"start_s": 3.0},
    "mpeg2.ts": {"codec": "mpeg2video", "codec_options": {"bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "codec_options": {"bf": "2"}},
    "h264.avi": {},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "flv1.flv": {"codec": "flv"},
    "wmv2.wmv": {"codec": "wmv2"},
    "prores.mov": {"codec": "prores", "pixel_format": "yuv422p10le"},
    "mjpeg.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "ffv1.mkv": {"codec": "ffv1"},
}


def read(path, spans, *, shape=SHAPE, sampling="exact", reader="pyav", limits=LIMITS):
    with ClipReader(
        path, spans, shape=shape, sampling=sampling, reader=reader, limits=limits
    ) as clips:
        return list(clips), clips.report


def test_a_clip_has_the_geometry_that_was_asked_for(tmp_path):
    path = make_video(tmp_path / "wide.mp4", seconds=1, size=(320, 180))
    whole = replace(SHAPE, frame_size=64, resize_short=64, fit="squash")

    [squashed], _ = read(path, [Span(0, 0.0, 1.0)], shape=whole)
    [cropped], _ = read(path, [Span(0, 0.0, 1.0)], shape=replace(whole, fit="crop"))

    with Image.open(io.BytesIO(squashed.thumbnail)) as thumbnail:
        wanted = np.asarray(thumbnail.resize((64, 64)), dtype=float)
    far = np.abs(cropped.frames[1] - wanted).mean()
    assert np.abs(squashed.frames[1] - wanted).mean() < far / 2


def numbers(clips):
    return [[read_number(frame, zoom=ZOOM) for frame in clip.frames] for clip in clips]


def frames_shown(spans, shown_at, count=SHAPE.frames_per_clip):
    return [
        [
            max(number for number, at in enumerate(shown_at) if at <= time_s + 1e-4)
            for time_s in sample_times(span.start_s, span.end_s, count)
        ]
        for span in spans
    ]


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_frames_of_the_times_asked_for(tmp_path, name, reader):
    path = make_video(tmp_path / name, seconds=2, **FORMATS[name])
    facts = probe(path, limits=LIMITS)
    spans = cut(facts.duration_s, length_s=0.6, every_s=0.6)

    clips, report = read(path, spans, reader=reader)

    assert facts.duration_s == pytest.approx(2.0, abs=0.05)
    assert facts.num_frames == 50
    assert numbers(clips) == frames_shown(spans, [i / 25 for i in range(50)])
    assert report.frames_decoded == report.frames_wanted == 3 * len(spans)
    assert not report.is_partial


def test_a_program_stream_is_read_although_few_of_its_frames_carry_a_time(tmp_path):
    path = make_video(tmp_path / "mpeg2.mpg", seconds=2, codec="mpeg2video")
    spans = cut(2.0, length_s=0.5, every_s=0.5)

    clips, _ = read(path, spans)

    expected = frames_shown(spans, [i / 25 for i in range(50)])
    assert np.abs(np.array(numbers(clips)) - expected).max() <= 1  # FFmpeg guesses the rest


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv"])
@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_variable_frame_rate_goes_by_time_not_by_number(tmp_path, name, reader):
    path = make_video(tmp_path / name, times=UNEVEN)
    spans = cut(2.6, length_s=0.5, every_s=0.5)

    clips, _ = read(path, spans, reader=reader)

    assert numbers(clips) == frames_shown(spans, UNEVEN)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_frames_that_an_edit_list_cuts_off_are_not_shown(tmp_path, reader):
    path = make_video(
        tmp_path / "cut.mp4",
        seconds=2,
        start_s=-1.0,
        container_options={"avoid_negative_ts": "disabled"},
    )

    clips, _ = read(path, [Span(0, 0, 1)], reader=reader)

    assert probe(path, limits=LIMITS).duration_s == pytest.approx(1.0, abs=0.05)
    assert numbers(clips) == [[29, 37, 45]]


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize(("rotation", "clockwise"), [(90, 270), (180, 180), (-90, 90)])
def test_rotated_videos_are_shown_upright(tmp_path, rotation, clockwise, reader):
    path = make_video(tmp_path / "phone.mp4", rotation=rotation)

    facts = probe(path, limits=LIMITS)
    clips, _ = read(path, [Span(0, 0, 2)], reader=reader)

    assert facts.rotation == clockwise
    assert (facts.width, facts.height) == ((160, 120) if clockwise == 180 else (120, 160))
    stored = np.rot90(clips[0].frames, -rotation // 90, axes=(1, 2))
    assert [read_number(frame, zoom=ZOOM) for frame in stored] == [8, 25, 41]
    with Image.open(io.BytesIO(clips[0].thumbnail)) as thumbnail:
        assert thumbnail.size == (facts.width, facts.height)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_keyframes_only_takes_the_nearest_keyframe_inside_the_segment(tmp_path, reader):
    path = make_video(tmp_path / "gop.mp4", seconds=2, gop=12)

    clips, _ = read(path, [Span(0, 0, 1), Span(1, 1, 2)], sampling="keyframes", reader=reader)

    assert numbers(clips) == [[0, 12, 24], [36, 36, 48]]


def test_keyframes_only_falls_back_to_exact_where_a_segment_has_none(tmp_path):
    path = make_video(tmp_path / "one key.mp4", seconds=2, gop=500)

    clips, _ = read(path, [Span(0, 1, 2)], sampling="keyframes")

    assert numbers(clips) == [[29, 37, 45]]


def test_overlapping_segments_share_frames(tmp_path):
    path = make_video(tmp_path / "overlap.mp4", seconds=2)
    spans = cut(2.0, length_s=1.0, every_s=0.2)

    clips, _ = read(path, spans)

    assert numbers(clips) == frames_shown(spans, [i / 25 for i in range(50)])


def test_a_skipped_gop_leaves_the_others_as_they_are(tmp_path):
    path = make_video(tmp_path / "sparse.mp4", seconds=8, gop=25, codec_options={"bf": "3"})
    spans = [Span(3, 0.2, 0.4), Span(9, 6.0, 6.4)]

    clips, _ = read(path, spans)

    assert [clip.span for clip in clips] == spans
    assert numbers(clips) == frames_shown(spans, [i / 25 for i in range(200)])


def test_segments_behind_the_last_frame_are_left_out(tmp_path):
    path = make_video(tmp_path / "short.mp4", seconds=1)

    clips, report = read(path, [Span(0, 0, 2), Span(1, 2, 4)])

    assert [clip.span.ordinal for clip in clips] == [0]
    assert numbers(clips) == [[4, 12, 20]]
    assert (report.segments_wanted, report.segments_decoded) == (2, 1)


def test_the_thumbnail_is_the_middle_frame(tmp_path):
    path = make_video(tmp_path / "thumbnail.mp4", seconds=1, size=(640, 360))

    clips, _ = read(path, [Span(0, 0, 1)])

    with Image.open(io.BytesIO(clips[0].thumbnail)) as thumbnail:
        assert thumbnail.size == (160, 90)
        assert read_number(np.asarray(thumbnail)) == 12


def test_the_report_is_unknown_before_the_last_clip(tmp_path):
    path = make_video(tmp_path / "report.mp4")
    with (
        ClipReader(
            path,
            [Span(0, 0, 2)],
            shape=SHAPE,
            sampling="exact",
            reader="pyav",
            limits=LIMITS,
        ) as clips,
        pytest.raises(RuntimeError, match="last clip"),
    ):
        clips.report  # noqa: B018


@pytest.mark.parametrize(
    ("sent", "reason", "may_pass"),
    [
        (signal.SIGABRT, "decoder_crashed", False),
        (signal.SIGKILL, "decode_memory_limit", True),  # as the system kills when it has no more
        (signal.SIGSYS, "sandbox_violation", False),
    ],
)
def test_a_child_that_dies_is_an_error_of_the_video(tmp_path, sent, reason, may_pass):
    path = make_video(tmp_path / "long.mp4", seconds=8)
    spans = cut(8.0, length_s=0.2, every_s=0.2)
    shape = ClipShape(frames_per_clip=8, frame_size=256, resize_short=256, thumbnail_px=160)
    before = {child.pid for child in psutil.Process().children()}
    with ClipReader(
        path, spans, shape=shape, sampling="exact", reader="pyav", limits=LIMITS
    ) as clips:
        (child,) = [p for p in psutil.Process().children() if p.pid not in before]
        clips_iterator = iter(clips)
        next(clips_iterator)
        child.send_signal(sent)
        with pytest.raises(VideoError) as caught:
            list(clips_iterator)
    assert (caught.value.reason, caught.value.may_pass) == (reason, may_pass)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_a_video_that_is_turned_by_an_odd_angle_is_read_whole(tmp_path, reader):
    path = make_video(tmp_path / "tilted.mp4", rotation=30)

    clips, report = read(path, [Span(0, 0, 2)], reader=reader)

    assert len(clips) == 1
    assert not report.is_partial


def test_time_and_memory_are_limited(tmp_path):
    wide = make_video(
        tmp_path / "wide.mp4",
        size=(4096, 2304),
        seconds=0.2,
        pattern=lambda number, width, height: np.full((height, width, 3), number, np.uint8),
        codec_options={"preset": "ultrafast"},
    )
    limits = {
        "decode_time_limit": DecodeLimits(cpu_s=60, wall_s=0.001),
        "decode_memory_limit": DecodeLimits(memory_bytes=300 * 1024 * 1024),
        "resolution_too_large": DecodeLimits(max_pixels=4096 * 2303),
        "too_many_frames": DecodeLimits(max_frames=4),
        "duration_too_long": DecodeLimits(max_duration_s=0.1),
    }
    for reason, limit in limits.items():
        with pytest.raises(VideoError) as caught:
            read(wide, [Span(0, 0, 0.2)], limits=limit)
        assert caught.value.reason == reason
        assert caught.value.may_pass == (reason == "decode_time_limit")


def test_reading_leaves_no_descriptor_and_no_process_behind(tmp_path):
    path = make_video(tmp_path / "clean.mp4")
    read(path, [Span(0, 0, 2)])
    before = psutil.Process().num_fds(), psutil.Process().children()

    for _ in range(3):
        probe(path, limits=LIMITS)
        with ClipReader(
            path, [Span(0, 0, 2)], shape=SHAPE, sampling="exact", reader="pyav", limits=LIMITS
        ) as clips:
            next(iter(clips))

    assert (psutil.Process().num_fds(), psutil.Process().children()) == before


@pytest.mark.parametrize("fps", [24, 25, 30])
def test_four_seconds_are_four_seconds(tmp_path, fps):
    video = make_video(tmp_path / "four.mp4", seconds=4, fps=fps)
    duration_s = probe(video, limits=DecodeLimits()).duration_s
    assert duration_s == 4
    assert cut(duration_s, length_s=4, every_s=4) == [Span(0, 0.0, 4.0)]
