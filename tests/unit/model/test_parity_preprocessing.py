"""Pixels, frame numbers and metrics are the published ones. See tests/parity.py."""

import json

import numpy as np
import pytest
import torch

from model.metrics import Recall, rank_texts, rank_videos
from model.preprocessing import Preprocessing
from model.video.sample_times import sample_indices
from model.video.transforms import to_square
from tests import parity

SALT = "aio-dev-1"
PIXEL_TOLERANCE = 0.01
"""One 8-bit level is 0.0175: not a single pixel may be off by one."""
PUBLISHED = Preprocessing(resize_short=268, frame_size=224, frames_per_clip=3)


@pytest.fixture(scope="module")
def stored(request):
    path = parity.find_files(request.config.getoption("parity_fixtures")).get("fixture-aux.npz")
    if path is None:
        pytest.skip("this folder has no numbers of preprocessing")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _draw_clip(name, shape):
    num_frames, height, width = shape
    coarse = parity.unit(SALT, f"preproc.{name}.c", (num_frames, 8, 8, 3))
    coarse = coarse.repeat(-(-height // 8), axis=1).repeat(-(-width // 8), axis=2)
    fine = parity.unit(SALT, f"preproc.{name}", (num_frames, height, width, 3))
    pixels = np.rint(128 + 45 * coarse[:, :height, :width] + 25 * fine)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["sq512", "wide", "tall"])
def test_frames_are_resized_cropped_and_scaled_alike(stored, name):
    clip = _draw_clip(name, [int(n) for n in stored[f"{name}/shape"]])
    assert (clip.flatten()[::9973][:16] == stored[f"{name}/in_probe"]).all()

    squares = np.stack([to_square(frame, resize_short=268, frame_size=224) for frame in clip])
    pixels = PUBLISHED.normalise(torch.from_numpy(squares)[None])[0]

    found = pixels[:, :, ::13, ::13].numpy()
    assert np.abs(found - stored[f"{name}/out_stride"]).max() <= PIXEL_TOLERANCE
    means = pixels.double().mean(dim=(0, 2, 3)).numpy()
    assert np.abs(means - stored[f"{name}/mean_per_channel"]).max() <= 1e-5


@pytest.mark.parametrize("name", ["a", "b"])
def test_recall_and_ranks_count_ties_alike(stored, name):
    similarity = stored[f"metrics/{name}/sims"]
    for ranking, wanted in (
        (rank_videos(similarity), stored[f"metrics/{name}/t2v"]),
        (rank_texts(similarity), stored[f"metrics/{name}/v2t"]),
    ):
        recall = Recall.of(ranking)
        found = [recall.r1, recall.r5, recall.r10, recall.median_rank, recall.mean_rank]
        r1, r5, r10, _, median_rank, mean_rank = wanted
        assert found == pytest.approx([r1, r5, r10, median_rank, mean_rank], abs=1e-9)


def test_frame_numbers_are_spaced_alike(stored):
    for key, wanted in json.loads(str(stored["uniform_sampling_json"])).items():
        count, num_frames = (int(part) for part in key.split(","))
        assert sample_indices(num_frames, count) == wanted, key
