"""Clover networks in bundles: every value is checked before a network is built from it."""

from math import prod

import torch
from tokenizers import Tokenizer

from model.all_in_one.precision import choose_dtype
from model.bundle_checks import (
    Precision,
    build_values,
    check_sizes,
    read_similarity_weight,
    read_state,
    read_tokenizer,
)
from model.bundle_files import BundleError, BundleParts
from model.clover.dims import MLP_RATIO, CloverDims
from model.clover.network import Clover, assemble
from model.clover.retriever import CloverRetriever
from model.preprocessing import Preprocessing
from model.retrieval import RetrievalModel
from model.trainable import TrainableBundle

LARGEST = {
    "embed_width": 1024,
    "patch": 64,
    "tubelet": 64,
    "frame_size": 1024,
    "frames": 256,
    "width": 4096,
    "text_depth": 64,
    "mlp_width": 16384,
    "max_text_tokens": 1024,
    "vocabulary": 1_000_000,
    "fusion_depth": 64,
    "projection": 4096,
    "projection_hidden": 16384,
}
"""No network is built that is larger than this, whatever a configuration says."""
MOST_BLOCKS = 256
MOST_WINDOW_TOKENS = 4096
MOST_PATCHES = 1_000_000
"""Of one clip."""


def load(parts: BundleParts, *, device: str, precision: Precision) -> RetrievalModel:
    """Load a bundle to embed and match.

    Args:
        parts: the bundle.
        device: `cpu` or a CUDA device.
        precision: type in which matrices are multiplied.

    Raises:
        BundleError: its parts do not fit together.
    """
    network, dims, preprocessing, tokenizer = _read(parts)
    return CloverRetriever(
        network=network,
        dims=dims,
        preprocessing=preprocessing,
        tokenizer=tokenizer,
        similarity_weight=read_similarity_weight(parts),
        device=device,
        dtype=_choose_dtype(dims, device, precision),
    )


def load_trainable(parts: BundleParts) -> TrainableBundle:
    """Load a bundle to train it. Errors as in `load`."""
    network, dims, preprocessing, tokenizer = _read(parts)
    tokenizer.enable_truncation(dims.max_text_tokens)
    tokenizer.no_padding()
    weight = read_similarity_weight(parts)
    return TrainableBundle(network, dims, preprocessing, tokenizer, weight)


def check_dims(dims: CloverDims, where: str) -> None:
    """Refuse sizes that no network is built with.

    Args:
        dims: what was asked for.
        where: how messages call it.

    Raises:
        BundleError: a size is over its limit.
    """
    check_sizes(dims, LARGEST, where)
    for name, found, limit in (
        ("blocks of the video encoder", sum(dims.depths), MOST_BLOCKS),
        ("tokens of a window", prod(dims.window), MOST_WINDOW_TOKENS),
    ):
        if found > limit:
            raise BundleError(f"{where}: {found} {name} are over {limit}")


def _read(parts: BundleParts) -> tuple[Clover, CloverDims, Preprocessing, Tokenizer]:
    dims, preprocessing = _read_sizes(parts)
    tokenizer = read_tokenizer(parts.tokenizer_path, vocabulary=dims.vocabulary)
    with torch.device("meta"):
        network = assemble(dims)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(read_state(parts.weights_path, wanted), assign=True)
    return network, dims, preprocessing, tokenizer


def _choose_dtype(dims: CloverDims, device: str, precision: Precision) -> torch.dtype:
    """Choose by the deepest stage of the video encoder: most of the time is spent there."""
    if precision == "auto":
        stage = dims.depths.index(max(dims.depths))
        width = dims.widths[stage]
        return choose_dtype(
            width=width, heads=dims.heads[stage], mlp_width=MLP_RATIO * width, device=device
        )
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _read_sizes(parts: BundleParts) -> tuple[CloverDims, Preprocessing]:
    """Check every value of a configuration that a network is built from."""
    path = parts.config_path
    dims = build_values(CloverDims, parts.config.get("dims"), f"dims of {path}")
    check_dims(dims, f"dims of {path}")
    preprocessing = build_values(
        Preprocessing, parts.config.get("preprocessing"), f"preprocessing of {path}"
    )
    if preprocessing.frame_size != dims.frame_size:
        raise BundleError(f"{path}: frames of {preprocessing.frame_size} px do not fit the network")
    patches = dims.grid**2 * -(-preprocessing.frames_per_clip // dims.tubelet)
    if patches > MOST_PATCHES:
        raise BundleError(f"{path}: clips of {patches} patches are over {MOST_PATCHES}")
    return dims, preprocessing
