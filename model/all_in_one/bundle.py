"""All-in-One networks in bundles: every value is checked before a network is built from it."""

import torch
from tokenizers import Tokenizer

from model.all_in_one.dims import Dims
from model.all_in_one.network import AllInOne, assemble
from model.all_in_one.precision import choose_dtype
from model.all_in_one.retriever import AllInOneRetriever
from model.bundle_checks import (
    Precision,
    build_values,
    check_sizes,
    read_similarity_weight,
    read_state,
    read_tokenizer,
)
from model.bundle_files import BundleError, BundleParts
from model.preprocessing import Preprocessing
from model.retrieval import RetrievalModel
from model.trainable import TrainableBundle

LARGEST = {
    "width": 4096,
    "depth": 64,
    "mlp_width": 16384,
    "frame_size": 1024,
    "frames": 256,
    "max_text_tokens": 1024,
    "vocabulary": 1_000_000,
    "lexicon": 1_000_000,
    "projection": 4096,
}
"""No network is built that is larger than this, whatever a configuration says."""
MOST_PATCHES = 64 * 64


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
    return AllInOneRetriever(
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


def _read(parts: BundleParts) -> tuple[AllInOne, Dims, Preprocessing, Tokenizer]:
    dims, preprocessing = _read_sizes(parts)
    rows = dims.lexicon or dims.vocabulary
    tokenizer = read_tokenizer(parts.tokenizer_path, vocabulary=rows)
    with torch.device("meta"):
        network = assemble(dims)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(read_state(parts.weights_path, wanted), assign=True)
    return network, dims, preprocessing, tokenizer


def _choose_dtype(dims: Dims, device: str, precision: Precision) -> torch.dtype:
    if precision == "auto":
        return choose_dtype(
            width=dims.width, heads=dims.heads, mlp_width=dims.mlp_width, device=device
        )
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _read_sizes(parts: BundleParts) -> tuple[Dims, Preprocessing]:
    """Check every value of a configuration that a network is built from."""
    path = parts.config_path
    dims = build_values(Dims, parts.config.get("dims"), f"dims of {path}")
    check_sizes(dims, LARGEST, f"dims of {path}")
    if dims.num_patches > MOST_PATCHES:
        raise BundleError(f"dims of {path}: {dims.num_patches} patches are over {MOST_PATCHES}")
    preprocessing = build_values(
        Preprocessing, parts.config.get("preprocessing"), f"preprocessing of {path}"
    )
    if preprocessing.frame_size != dims.frame_size:
        raise BundleError(f"{path}: frames of {preprocessing.frame_size} px do not fit the network")
    if preprocessing.frames_per_clip > dims.frames:
        raise BundleError(f"{path}: clips are longer than the {dims.frames} frames of the network")
    return dims, preprocessing
