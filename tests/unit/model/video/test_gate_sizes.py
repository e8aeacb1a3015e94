"""What FFmpeg's complaint about the size of pictures is taken for."""

import os

import av
import pytest

from model.video import gate
from tests.factories_video import make_video


@pytest.mark.parametrize(
    ("size", "reason"), [("70000x70000", "resolution_too_large"), ("0x0", "truncated")]
)
def test_a_size_of_nothing_is_damage_and_not_too_large(tmp_path, size, reason):
    path = make_video(tmp_path / "cut.mp4", seconds=1.0, size=(64, 48))
    path.write_bytes(path.read_bytes()[:500])
    file = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(av.FFmpegError) as caught:
            av.open(str(path))
        refusal = gate.explain(file, f"[mov] Picture size {size} is invalid", caught.value)
    finally:
        os.close(file)

    assert refusal.reason == reason
