"""Image-text models in bundles: every value is checked before a network is built from it."""

from pathlib import Path

import torch
from tokenizers import Tokenizer

from model.all_in_one.precision import choose_dtype
from model.bundle_checks import (
    Precision,
    build_values,
    read_similarity_weight,
    read_state,
    read_tokenizer,
)
from model.bundle_files import BundleError, BundleParts
from model.image_text.retriever import FAMILY, ImageTextRetriever
from model.image_text.sizes import Sizes, read_sizes
from model.image_text.texts import TextRules
from model.preprocessing import Preprocessing
from model.retrieval import RetrievalModel
from model.trainable import TrainableBundle


def load(parts: BundleParts, *, device: str, precision: Precision) -> RetrievalModel:
    """Load a bundle to embed.

    Args:
        parts: the bundle.
        device: `cpu` or a CUDA device.
        precision: type in which matrices are multiplied.

    Raises:
        BundleError: its parts do not fit together.
    """
    from model.image_text.towers import assemble, fill  # noqa: PLC0415 (it takes seconds)

    sizes, preprocessing, rules = read_settings(parts)
    tokenizer = _read_tokenizer(parts.tokenizer_path, sizes, rules)
    network = assemble(sizes)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    fill(network, read_state(parts.weights_path, wanted))
    return ImageTextRetriever(
        network=network,
        sizes=sizes,
        preprocessing=preprocessing,
        tokenizer=tokenizer,
        rules=rules,
        similarity_weight=read_similarity_weight(parts),
        device=device,
        dtype=_choose_dtype(sizes, device, precision),
    )


def load_trainable(parts: BundleParts) -> TrainableBundle:
    """Refuse: these models are taken as they are.

    Raises:
        BundleError: always.
    """
    raise BundleError(
        f"{parts.folder} is of the family {FAMILY}, which is not trained here; tune the matcher "
        "behind it, or another bundle"
    )


def read_settings(parts: BundleParts) -> tuple[Sizes, Preprocessing, TextRules]:
    """Check every value of a configuration that a model is built from.

    Raises:
        BundleError: something does not fit.
    """
    path = parts.config_path
    sizes = read_sizes(parts.config.get("sizes"), f"sizes of {path}")
    preprocessing = build_values(
        Preprocessing, parts.config.get("preprocessing"), f"preprocessing of {path}"
    )
    rules = build_values(TextRules, parts.config.get("texts"), f"texts of {path}")
    side, vision = preprocessing.frame_size, sizes.vision
    if sizes.is_patchwise and side % vision.patch_size:
        raise BundleError(f"{path}: frames of {side} px are no whole patches")
    if not sizes.is_patchwise and side != vision.image_size:
        raise BundleError(f"{path}: frames of {side} px do not fit the network")
    if rules.max_tokens > sizes.text.max_position_embeddings:
        raise BundleError(f"{path}: texts of {rules.max_tokens} tokens do not fit the network")
    return sizes, preprocessing, rules


def _read_tokenizer(path: Path, sizes: Sizes, rules: TextRules) -> Tokenizer:
    return read_tokenizer(path, vocabulary=sizes.text.vocab_size, pad=rules.pad_token)


def _choose_dtype(sizes: Sizes, device: str, precision: Precision) -> torch.dtype:
    if precision == "auto":
        vision = sizes.vision
        return choose_dtype(
            width=vision.hidden_size,
            heads=vision.num_attention_heads,
            mlp_width=vision.intermediate_size,
            device=device,
        )
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
