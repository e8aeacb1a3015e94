"""What every family checks before it builds a network from files that anyone may have written."""

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from model.bundle_files import BundleError, BundleParts, check_header, read_text
from model.retrieval import Calibration

Values = TypeVar("Values")

Precision = Literal["auto", "float32", "bfloat16"]
"""Type in which matrices are multiplied; `auto` measures what is faster."""
CALIBRATION = "calibration"
"""In a configuration: how match probabilities were fitted."""
PAD = "[PAD]"
"""The token that every tokenizer of ours needs."""


def build_values(kind: type[Values], given: Any, where: str) -> Values:
    """Build a frozen dataclass from JSON, refusing unknown names and wrong types.

    Args:
        kind: the dataclass.
        given: what the configuration holds.
        where: how messages call it.

    Raises:
        BundleError: something does not fit.
    """
    if not isinstance(given, dict):
        raise BundleError(f"{where} are missing")
    known = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in known:
            raise BundleError(f"{where}: {name!r} is not known")
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if known[name] is int and not is_whole:
            raise BundleError(f"{where}: {name} is {value!r}, not a whole number")
        if known[name] is bool and not isinstance(value, bool):
            raise BundleError(f"{where}: {name} is {value!r}, not true or false")
        if known[name] is str and not isinstance(value, str):
            raise BundleError(f"{where}: {name} is {value!r}, not a text")
        if isinstance(value, list) and not all(is_number(item) for item in value):
            raise BundleError(f"{where}: {name} is {value!r}, not a list of numbers")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{where}: {error}") from error


def check_sizes(values: object, largest: Mapping[str, int], where: str) -> None:
    """Refuse sizes that no network is built with, whatever a configuration says.

    Raises:
        BundleError: a size is over its limit.
    """
    for name, limit in largest.items():
        if getattr(values, name) > limit:
            raise BundleError(f"{where}: {name} {getattr(values, name)} is over {limit}")


def read_similarity_weight(parts: BundleParts) -> float:
    """Return what a similarity of 1 counts when hits are re-ranked.

    Raises:
        BundleError: it is no number, or negative.
    """
    weight = parts.config.get("similarity_weight", 0.0)
    if not is_number(weight) or weight < 0:
        where = parts.config_path
        raise BundleError(f"{where}: similarity_weight is {weight!r}, not a number of at least 0")
    return float(weight)


def read_calibration(parts: BundleParts) -> Calibration | None:
    """Return the calibration of a bundle; None if its match probabilities were never fitted.

    That of a matcher behind another model is not read: it holds for the matcher alone.

    Raises:
        BundleError: it is damaged.
    """
    if CALIBRATION not in parts.config:
        return None
    where = f"{CALIBRATION} of {parts.config_path}"
    return build_values(Calibration, parts.config[CALIBRATION], where)


def is_number(value: Any) -> bool:
    """Tell whether JSON gave a number that one can compute with."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def read_tokenizer(path: Path, *, vocabulary: int, pad: str = PAD) -> Tokenizer:
    """Read a tokenizer.

    Args:
        path: what `tokenizers` serialised.
        vocabulary: rows of the network's word table.
        pad: token that texts are padded with.

    Raises:
        BundleError: it is not a tokenizer, or one for another network.
    """
    content = read_text(path)
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{path} is not a tokenizer") from error
    words = tokenizer.get_vocab(with_added_tokens=True)
    if pad not in words:
        raise BundleError(f"{path} has no token {pad}")
    if max(words.values()) >= vocabulary:
        raise BundleError(f"{path} has more words than the {vocabulary} of the network")
    return tokenizer


def read_state(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read weights; nothing is allocated before all names and shapes fit.

    Args:
        path: a safetensors file.
        wanted: shape of every tensor of the network, by name.

    Returns:
        float32 tensors by name.

    Raises:
        BundleError: the file is damaged, is of another network, or holds no proper numbers.
    """
    check_header(path)
    try:
        with safe_open(path, framework="pt") as stored:
            found = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118 not a mapping
            _check_shapes(found, wanted, path)
            return {name: _read_tensor(stored.get_tensor(name), name, path) for name in wanted}
    except SafetensorError as error:
        raise BundleError(f"{path} is not a safetensors file: {error}") from error


def _check_shapes(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    if missing := sorted(wanted.keys() - found.keys()):
        raise BundleError(f"{path} lacks {missing[0]!r} and {len(missing) - 1} more")
    if extra := sorted(found.keys() - wanted.keys()):
        raise BundleError(f"{path} holds {extra[0]!r}, which the network does not have")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise BundleError(f"{path}: {name!r} has the shape {found[name]}, not {shape}")


def _read_tensor(tensor: Tensor, name: str, path: Path) -> Tensor:
    if not tensor.is_floating_point():
        raise BundleError(f"{path}: {name!r} holds {tensor.dtype}, not floating-point numbers")
    tensor = tensor.to(torch.float32, copy=True)  # not a view of the file, which may change
    if not bool(tensor.isfinite().all()):
        raise BundleError(f"{path}: {name!r} holds numbers that are not finite")
    return tensor
