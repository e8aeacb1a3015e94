"""Sizes of a published model, out of its config.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from model.bundle_files import BundleError, read_json
from model.image_text.sizes import (
    MODEL_TYPES,
    PATCHWISE,
    POOLS_AT_END_OF_TEXT,
    Sizes,
    TextTower,
    VisionTower,
    only_sizes,
    read_sizes,
)
from model.image_text.towers import quietly
from model.importing.errors import ImportRefusedError

CODE = "auto_map"
"""Under this name a configuration names Python files that it wants to be run."""
READ = (
    "projection_dim",
    "text_config",
    "vision_config",
    "text_config_dict",
    "vision_config_dict",
)
"""The `_dict`s are what some of OpenAI's first files hold the sizes in."""


def read_published_json(path: Path) -> dict[str, Any]:
    """Read one of the JSON files of a published model.

    Raises:
        ImportRefusedError: it is damaged, or wants code of its own to be run.
    """
    try:
        content = read_json(path)
    except BundleError as error:
        raise ImportRefusedError(f"{error}.") from error
    if CODE in content:
        raise ImportRefusedError(
            f"{path} asks for code of its own to be run (auto_map), which is never done here; "
            f"choose a model of the kinds {', '.join(MODEL_TYPES)}."
        )
    return content


def read_published_sizes(path: Path) -> Sizes:
    """Read the sizes of both towers.

    Raises:
        ImportRefusedError: it is no model of the kinds that are read here.
    """
    content = read_published_json(path)
    kind = content.get("model_type")
    if kind not in MODEL_TYPES:
        raise ImportRefusedError(
            f"{path} describes a model of the kind {kind!r}, not one with an image and a text "
            f"tower that is read here ({', '.join(MODEL_TYPES)})."
        )
    given = {name: content[name] for name in READ if content.get(name) is not None}
    try:
        with quietly():
            config = AutoConfig.for_model(kind, **given).to_dict()  # with what the file leaves out
        return read_sizes(_as_stored(kind, config), f"sizes of {path}")
    except ImportRefusedError:
        raise
    except Exception as error:  # the strict classes of transformers raise many kinds
        raise ImportRefusedError(f"{path} cannot be used: {_one_line(error)}.") from error


def _as_stored(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    text, vision = dict(config["text_config"]), dict(config["vision_config"])
    if not vision.get("vision_use_head", True):
        raise ImportRefusedError("Its image tower has no head: it gives no embedding of an image.")
    if vision.get("num_channels", 3) != 3:  # noqa: PLR2004 (red, green, blue)
        raise ImportRefusedError(f"It reads {vision['num_channels']} colour channels, not 3.")
    vision["patch_size"] = _side(vision.get("patch_size"), "patches")
    if kind == PATCHWISE:
        vision["image_size"] = vision["patch_size"] * int(vision["num_patches"] ** 0.5)
    else:
        vision["image_size"] = _side(vision.get("image_size"), "images")
    if not isinstance(text.get("eos_token_id"), int) or kind not in POOLS_AT_END_OF_TEXT:
        text.pop("eos_token_id", None)
    for tower in (text, vision):
        tower["layer_norm_eps"] = float(tower["layer_norm_eps"])
    at_end = kind in POOLS_AT_END_OF_TEXT
    return {
        "model_type": kind,
        "embedding_dim": config["projection_dim"] if at_end else text["projection_size"],
        "text": only_sizes(TextTower, text),
        "vision": only_sizes(VisionTower, vision),
    }


def _side(size: Any, what: str) -> int:
    """Return the side of a square that is given as one number or as two."""
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        size = size[0]
    if isinstance(size, bool) or not isinstance(size, int):
        raise ImportRefusedError(f"It reads {what} of {json.dumps(size)} px, which are not square.")
    return size


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
