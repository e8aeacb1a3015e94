"""From a frame to the square that the network reads."""

import io

import numpy as np
import pytest
from PIL import Image

from model.video.transforms import resized_size, to_square, to_thumbnail


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(512, 512), (426, 240), (270, 360), (161, 121), (2, 2)])
def test_the_square_is_what_pil_resizes_and_crops(size):
    frame = noise(*size)
    width, height = resized_size(*size, 268)
    whole = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - 224) / 2), round((height - 224) / 2)

    square = to_square(frame, resize_short=268, frame_size=224)

    assert np.array_equal(square, np.asarray(whole)[top : top + 224, left : left + 224])


@pytest.mark.parametrize(("fit", "left"), [("crop", 76), ("crop_floor", 75)])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_an_odd_margin_is_halved_as_the_fit_says(fit, left, resample):
    frame = noise(375, 250)  # nothing is resized; half of the margin is 75.5 across, 13 down

    square = to_square(frame, resize_short=250, frame_size=224, fit=fit, resample=resample)

    assert np.array_equal(square, frame[13 : 13 + 224, left : left + 224])


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_a_squashed_frame_is_the_whole_of_it(resample):
    frame = noise(426, 240)
    pil_filter = Image.Resampling[resample.upper()]

    square = to_square(frame, resize_short=64, frame_size=64, fit="squash", resample=resample)

    assert np.array_equal(square, np.asarray(Image.fromarray(frame).resize((64, 64), pil_filter)))


def test_the_long_side_is_cut_to_an_integer():
    assert resized_size(426, 240, 268) == (475, 268)
    assert resized_size(270, 360, 268) == (268, 357)


def test_a_very_long_frame_is_cropped_while_it_is_resized():
    frame = noise(16, 400)
    whole = Image.fromarray(frame).resize((64, 1600), Image.Resampling.BILINEAR)

    square = to_square(frame, resize_short=64, frame_size=48).astype(int)

    assert np.abs(square - np.asarray(whole)[776:824, 8:56].astype(int)).max() <= 1


def test_wide_pixels_are_shown_wide():
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[:, 45:55] = 255

    square = to_square(frame, resize_short=100, frame_size=100, aspect=2.0)

    assert (square[50, :, 0] > 127).sum() == 20


def test_a_crop_larger_than_the_short_side_is_an_error():
    with pytest.raises(ValueError, match="cannot crop"):
        to_square(noise(64, 64), resize_short=100, frame_size=112)


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((640, 360), 1, (320, 180)),
        ((100, 50), 1, (100, 50)),
        ((16, 2048), 1, (2, 320)),
        ((720, 576), 16 / 15, (320, 240)),
    ],
)
def test_a_thumbnail_keeps_the_shape_and_never_grows(size, aspect, shown):
    jpeg = to_thumbnail(noise(*size), longest_px=320, aspect=aspect)

    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        assert image.size == shown
