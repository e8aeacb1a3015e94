"""A safetensors file of others: its header is checked before the library reads it."""

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.bundle_files import HEADER_LENGTH_BYTES, BundleError, check_header
from model.importing.errors import ImportRefusedError

SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
"""Bytes of one element, by the name of its type."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, and what was noted with them.

    Raises:
        ImportRefusedError: the header is damaged, or does not fit the file.
    """
    header = _read_header(path)
    noted = header.pop("__metadata__", {})
    if not isinstance(noted, dict) or not all(isinstance(text, str) for text in noted.values()):
        raise ImportRefusedError("the metadata in its header are not texts")
    _check_offsets(header, path)
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name).clone() for name in header}
    except SafetensorError as error:
        raise ImportRefusedError(f"it is not a sound safetensors file ({error})") from error
    return tensors, noted


def _read_header(path: Path) -> dict[str, Any]:
    try:
        check_header(path)
    except BundleError as error:
        raise ImportRefusedError("its safetensors header is larger than the file allows") from error
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
        raw = stream.read(length)
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ImportRefusedError):
            raise
        raise ImportRefusedError("its safetensors header is not JSON") from error
    if not isinstance(header, dict):
        raise ImportRefusedError("its safetensors header is not a JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ImportRefusedError("its safetensors header names something twice")
    return made


def _check_offsets(header: dict[str, Any], path: Path) -> None:
    """Every tensor lies in the file, fits its type and shape, and no two share a byte."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
    available = path.stat().st_size - HEADER_LENGTH_BYTES - length
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        kind, shape, start, end = _read_entry(name, entry)
        if end > available:
            raise ImportRefusedError(f"its tensor {name!r:.80} reaches beyond the end of the file")
        if end - start != math.prod(shape) * SIZES[kind]:
            raise ImportRefusedError(
                f"its tensor {name!r:.80} has {end - start} bytes, which do not fit {kind} {shape}"
            )
        spans.append((start, end, name))
    spans.sort()
    reached = 0
    for start, end, name in spans:
        if start < reached:
            raise ImportRefusedError(f"its tensor {name!r:.80} overlaps with another")
        reached = end


def _read_entry(name: str, entry: Any) -> tuple[str, list[int], int, int]:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ImportRefusedError(f"its header describes {name!r:.80} wrongly")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in SIZES:
        raise ImportRefusedError(f"its tensor {name!r:.80} is of the type {kind!r:.80}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:  # noqa: PLR2004
        raise ImportRefusedError(f"its header describes {name!r:.80} wrongly")
    start, end = offsets
    if end < start:
        raise ImportRefusedError(f"its tensor {name!r:.80} ends before it starts")
    return kind, shape, start, end


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48
        for value in values
    )
