"""Sizes of the two towers, as data: the fields of a published configuration that matter here.

Names are those of `transformers`. Whatever else a configuration holds is never read, so it can
choose neither code nor kernels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from model.bundle_checks import build_values, check_sizes
from model.bundle_files import BundleError

MODEL_TYPES = ("clip", "metaclip_2", "siglip", "siglip2")
"""What `transformers` calls the architectures that are read here."""
PATCHWISE = "siglip2"
"""The one whose images are lists of patches (NaFlex)."""
POOLS_AT_END_OF_TEXT = ("clip", "metaclip_2")
"""These take the text's embedding where it ends, so padding is masked and costs nothing; the
SigLIPs take it at the last place, padding included, and were trained with texts of one length."""
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu")

LARGEST_TOWER = {
    "hidden_size": 8192,
    "intermediate_size": 32768,
    "num_hidden_layers": 96,
    "num_attention_heads": 128,
}
LARGEST_TEXT = {**LARGEST_TOWER, "vocab_size": 1_000_000, "max_position_embeddings": 4096}
LARGEST_VISION = {**LARGEST_TOWER, "image_size": 2048, "patch_size": 256}
LARGEST_EMBEDDING = 8192
"""No network is built that is larger than this, whatever a configuration says."""
MOST_PATCHES = 128 * 128


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """Sizes of the text tower.

    Attributes:
        eos_token_id: where CLIP takes the embedding of a text; 2 stands for the highest id.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    hidden_act: str
    layer_norm_eps: float
    eos_token_id: int = 2

    def __post_init__(self) -> None:
        """Refuse values that no tower could have."""
        _check_tower(self)


@dataclass(frozen=True, kw_only=True)
class VisionTower:
    """Sizes of the image tower.

    Attributes:
        image_size: side of the images that its positions are for, pixels.
        patch_size: side of a patch, pixels.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int
    hidden_act: str
    layer_norm_eps: float

    def __post_init__(self) -> None:
        """Refuse values that no tower could have."""
        _check_tower(self)
        if self.patch_size > self.image_size:
            raise ValueError(f"patches of {self.patch_size} px do not fit {self.image_size} px")
        if self.num_patches > MOST_PATCHES:
            raise ValueError(f"{self.num_patches} patches are over {MOST_PATCHES}")

    @property
    def num_patches(self) -> int:
        """How many patches an image has."""
        return int((self.image_size // self.patch_size) ** 2)


@dataclass(frozen=True)
class Sizes:
    """Sizes of both towers.

    Attributes:
        model_type: one of MODEL_TYPES.
        embedding_dim: width E of the joint space.
    """

    model_type: str
    embedding_dim: int
    text: TextTower
    vision: VisionTower

    @property
    def is_patchwise(self) -> bool:
        """Images are given as lists of patches."""
        return self.model_type == PATCHWISE


def read_sizes(given: Any, where: str) -> Sizes:
    """Check sizes that were stored as JSON.

    Raises:
        BundleError: something does not fit, or is too large.
    """
    if not isinstance(given, dict) or given.keys() != {field.name for field in fields(Sizes)}:
        raise BundleError(f"{where} do not list {', '.join(f.name for f in fields(Sizes))}")
    model_type, width = given["model_type"], given["embedding_dim"]
    if model_type not in MODEL_TYPES:
        raise BundleError(f"{where}: model_type {model_type!r} is none of {', '.join(MODEL_TYPES)}")
    if isinstance(width, bool) or not isinstance(width, int) or not 0 < width <= LARGEST_EMBEDDING:
        raise BundleError(f"{where}: embedding_dim {width!r} is not in 1 to {LARGEST_EMBEDDING}")
    text = build_values(TextTower, given["text"], f"text {where}")
    vision = build_values(VisionTower, given["vision"], f"vision {where}")
    check_sizes(text, LARGEST_TEXT, f"text {where}")
    check_sizes(vision, LARGEST_VISION, f"vision {where}")
    sizes = Sizes(model_type, width, text, vision)
    if model_type not in POOLS_AT_END_OF_TEXT and vision.hidden_size != width:
        raise BundleError(f"{where}: images have {vision.hidden_size} features, texts {width}")
    return sizes


def only_sizes(kind: type[TextTower | VisionTower], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration that are sizes of a tower."""
    return {field.name: found[field.name] for field in fields(kind) if field.name in found}


def _check_tower(tower: TextTower | VisionTower) -> None:
    for field in fields(tower):
        value = getattr(tower, field.name)
        if field.type is int and field.name != "eos_token_id" and value < 1:
            raise ValueError(f"{field.name} {value} is not positive")
    if tower.hidden_size % tower.num_attention_heads:
        raise ValueError(
            f"{tower.num_attention_heads} heads do not divide hidden_size {tower.hidden_size}"
        )
    if tower.hidden_act not in ACTIVATIONS:
        raise ValueError(f"hidden_act {tower.hidden_act!r} is none of {', '.join(ACTIVATIONS)}")
    is_number = isinstance(tower.layer_norm_eps, float) and math.isfinite(tower.layer_norm_eps)
    if not is_number or tower.layer_norm_eps <= 0:
        raise ValueError(f"layer_norm_eps {tower.layer_norm_eps!r} is not a positive number")
