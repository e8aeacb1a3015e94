"""Tiny random Clovers and bundles of them for tests: real files, real tokenizer, not trained."""

from pathlib import Path

import torch

from model.bundle import save_bundle
from model.clover.dims import CloverDims
from model.clover.network import Clover, build
from model.preprocessing import Preprocessing
from tests.factories_model import make_tokenizer

TINY_CLOVER = CloverDims(
    embed_width=16,
    depths=(2, 1),
    heads=(2, 2),
    window=(2, 4, 4),
    frame_size=32,
    frames=4,
    width=48,
    text_depth=2,
    text_heads=4,
    max_text_tokens=16,
    vocabulary=make_tokenizer().get_vocab_size(),
    fusion_depth=2,
    projection=32,
    projection_hidden=64,
)
CLOVER_PREPROCESSING = Preprocessing(resize_short=38, frame_size=32, frames_per_clip=4)


def make_tiny_clover(seed: int = 0, dims: CloverDims = TINY_CLOVER) -> Clover:
    """Make a small random network that reacts to its input, words, patches and time included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(dims, temporal_init_std=0.5)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def make_clover_bundle(
    folder: Path,
    seed: int = 0,
    dims: CloverDims = TINY_CLOVER,
    preprocessing: Preprocessing = CLOVER_PREPROCESSING,
) -> Path:
    """Write a bundle of random weights, and return its folder."""
    save_bundle(
        folder,
        network=make_tiny_clover(seed, dims),
        dims=dims,
        preprocessing=preprocessing,
        tokenizer_json=make_tokenizer().to_str(),
        card={"name": "tiny random Clover", "seed": seed},
    )
    return folder
