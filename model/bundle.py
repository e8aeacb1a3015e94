"""A bundle: one folder that holds all that a model needs, and names one embedding space.

`config.json` (family, sizes and preprocessing), `model.safetensors`, `tokenizer.json`, and
`card.json` (where it came from, and the digests of the other three). No file is ever unpickled.
"""

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn

from model.bundle_checks import CALIBRATION, Precision, read_calibration
from model.bundle_files import BundleError, BundleParts, bundle_digest, open_bundle, write_bundle
from model.composite import CompositeRetriever, find_matcher
from model.preprocessing import Preprocessing
from model.retrieval import Calibration, RetrievalModel
from model.trainable import Sizes, TrainableBundle

__all__ = ["BundleError", "bundle_digest", "load_bundle", "load_trainable", "save_bundle"]

FAMILIES = ("all_in_one", "clover", "image_text")
"""Each has a module `model.<family>.bundle`, imported when it is needed: some take seconds."""


class _Family(Protocol):
    """What the module of a family offers."""

    def load(self, parts: BundleParts, *, device: str, precision: Precision) -> RetrievalModel:
        """Load a bundle to embed and match."""

    def load_trainable(self, parts: BundleParts) -> TrainableBundle:
        """Load a bundle to train it."""


def save_bundle(
    folder: Path,
    *,
    network: nn.Module,
    dims: Sizes,
    preprocessing: Preprocessing,
    tokenizer_json: str,
    card: dict[str, Any],
    similarity_weight: float = 0.0,
    calibration: Calibration | None = None,
    stored_as: torch.dtype = torch.float32,
) -> str:
    """Write a network that we trained as a bundle and return its digest.

    Args:
        folder: where; it is made if it is missing.
        network: the trained network.
        dims: its sizes, which say of which family it is.
        preprocessing: how clips were cut and scaled in training.
        tokenizer_json: the tokenizer, as `tokenizers` serialises it.
        similarity_weight: see `RetrievalSpec`.
        calibration: of its match probabilities, if they were fitted.
        card: where the weights came from and what they can do; anything JSON can hold.
        stored_as: type of the stored weights; half the bytes as bfloat16 or float16.
    """
    state = {
        name: tensor.detach().to("cpu", stored_as) for name, tensor in network.state_dict().items()
    }
    settings: dict[str, Any] = {
        "dims": asdict(dims),
        "preprocessing": asdict(preprocessing),
        "similarity_weight": similarity_weight,
    }
    if calibration is not None:
        settings[CALIBRATION] = asdict(calibration)
    return write_bundle(
        folder,
        family=dims.family,
        settings=settings,
        state=state,
        tokenizer_json=tokenizer_json,
        card=card,
    )


def load_bundle(
    folder: Path, *, device: str = "cpu", precision: Precision = "auto"
) -> RetrievalModel:
    """Load a bundle, ready to embed and match.

    Args:
        folder: where it is.
        device: `cpu` or a CUDA device.
        precision: type in which matrices are multiplied; `auto` measures what is faster.

    Raises:
        BundleError: the bundle is damaged, was changed, or does not fit together.
    """
    parts = open_bundle(folder)
    found = _family(parts).load(parts, device=device, precision=precision)
    matcher = find_matcher(parts)
    if matcher is not None:
        behind = load_bundle(matcher, device=device, precision=precision)
        found = CompositeRetriever(found, behind)
    calibration = read_calibration(parts)
    if calibration is not None:
        found.spec = found.spec.calibrated(calibration)
    return found


def load_trainable(folder: Path) -> TrainableBundle:
    """Load a bundle to train it, on the CPU.

    Raises:
        BundleError: as in `load_bundle`, or its family is not trained here.
    """
    parts = open_bundle(folder)
    if find_matcher(parts) is not None:
        raise BundleError(
            f"{folder} is two models, one that finds and one that re-ranks: train the latter by "
            "itself and put it behind the former again"
        )
    return _family(parts).load_trainable(parts)


def _family(parts: BundleParts) -> _Family:
    family = parts.config.get("family")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BundleError(f"{parts.config_path} names the family {family!r}; known are {known}")
    return cast("_Family", import_module(f"model.{family}.bundle"))
