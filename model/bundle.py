"""A bundle: one folder that holds all that a model needs, and names one embedding space.

`config.json` (sizes and preprocessing), `model.safetensors`, `tokenizer.json`, and `card.json`
(where it came from, and the digests of the other three). No file is ever unpickled.
"""

import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from model.all_in_one.dims import Dims
from model.all_in_one.network import AllInOne, assemble
from model.all_in_one.precision import choose_dtype
from model.all_in_one.retriever import FAMILY, PAD, AllInOneRetriever
from model.bundle_files import (
    CARD,
    CONFIG,
    SEALED,
    TOKENIZER,
    WEIGHTS,
    BundleError,
    bundle_digest,
    check_digests,
    check_header,
    combine,
    digest_file,
    read_json,
    read_text,
    write_json,
)
from model.preprocessing import Preprocessing
from model.retrieval import RetrievalModel

__all__ = ["BundleError", "bundle_digest", "load_bundle", "save_bundle"]

Values = TypeVar("Values", Dims, Preprocessing)

FORMAT = 1
Precision = Literal["auto", "float32", "bfloat16"]

LARGEST = {
    "width": 4096,
    "depth": 64,
    "mlp_width": 16384,
    "frame_size": 1024,
    "frames": 256,
    "max_text_tokens": 1024,
    "vocabulary": 1_000_000,
    "projection": 4096,
}
"""No network is built that is larger than this, whatever a configuration says."""
MOST_PATCHES = 64 * 64


def save_bundle(
    folder: Path,
    *,
    network: AllInOne,
    dims: Dims,
    preprocessing: Preprocessing,
    tokenizer_json: str,
    card: dict[str, Any],
    similarity_weight: float = 0.0,
    stored_as: torch.dtype = torch.float32,
) -> str:
    """Write a bundle and return its digest.

    The card is written last, so a folder that was left half-written is refused when it is loaded.

    Args:
        folder: where; it is made if it is missing.
        network: the trained network.
        dims: its sizes.
        preprocessing: how clips were cut and scaled in training.
        tokenizer_json: the tokenizer, as `tokenizers` serialises it.
        similarity_weight: see `RetrievalSpec`.
        card: where the weights came from and what they can do; anything JSON can hold.
        stored_as: type of the stored weights; half the bytes as bfloat16 or float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    state = {
        name: tensor.detach().to("cpu", stored_as).contiguous()
        for name, tensor in network.state_dict().items()
    }
    save_file(state, folder / WEIGHTS)
    config = {
        "format": FORMAT,
        "family": FAMILY,
        "dims": asdict(dims),
        "preprocessing": asdict(preprocessing),
        "similarity_weight": similarity_weight,
    }
    write_json(folder / CONFIG, config)
    (folder / TOKENIZER).write_text(tokenizer_json, encoding="utf-8")
    digests = {name: digest_file(folder / name) for name in SEALED}
    digest = combine(digests)
    write_json(folder / CARD, {**card, "digest": digest, "files": digests})
    return digest


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
    check_digests(folder)
    config = read_json(folder / CONFIG)
    dims, preprocessing = _read_sizes(config, folder / CONFIG)
    tokenizer = _read_tokenizer(folder / TOKENIZER, dims)
    network = _read_network(folder / WEIGHTS, dims)
    return AllInOneRetriever(
        network=network,
        dims=dims,
        preprocessing=preprocessing,
        tokenizer=tokenizer,
        similarity_weight=_read_weight(config, folder / CONFIG),
        device=device,
        dtype=_choose_dtype(dims, device, precision),
    )


def _choose_dtype(dims: Dims, device: str, precision: Precision) -> torch.dtype:
    if precision == "auto":
        return choose_dtype(
            width=dims.width, heads=dims.heads, mlp_width=dims.mlp_width, device=device
        )
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _read_sizes(config: dict[str, Any], path: Path) -> tuple[Dims, Preprocessing]:
    """Check every value of a configuration that a network is built from."""
    if config.get("format") != FORMAT:
        raise BundleError(f"{path} is of format {config.get('format')!r}, not {FORMAT}")
    if config.get("family") != FAMILY:
        raise BundleError(f"{path} names the family {config.get('family')!r}, not {FAMILY!r}")
    dims = _build_values(Dims, config.get("dims"), f"dims of {path}")
    for name, largest in LARGEST.items():
        if getattr(dims, name) > largest:
            raise BundleError(f"dims of {path}: {name} {getattr(dims, name)} is over {largest}")
    if dims.num_patches > MOST_PATCHES:
        raise BundleError(f"dims of {path}: {dims.num_patches} patches are over {MOST_PATCHES}")
    preprocessing = _build_values(
        Preprocessing, config.get("preprocessing"), f"preprocessing of {path}"
    )
    if preprocessing.frame_size != dims.frame_size:
        raise BundleError(f"{path}: frames of {preprocessing.frame_size} px do not fit the network")
    if preprocessing.frames_per_clip > dims.frames:
        raise BundleError(f"{path}: clips are longer than the {dims.frames} frames of the network")
    return dims, preprocessing


def _read_weight(config: dict[str, Any], path: Path) -> float:
    weight = config.get("similarity_weight", 0.0)
    if not _is_number(weight) or weight < 0:
        raise BundleError(f"{path}: similarity_weight is {weight!r}, not a number of at least 0")
    return float(weight)


def _build_values(kind: type[Values], given: Any, where: str) -> Values:
    """Build a frozen dataclass from JSON, refusing unknown names and wrong types."""
    if not isinstance(given, dict):
        raise BundleError(f"{where} are missing")
    known = {field.name: field.type for field in fields(kind)}
    for name, value in given.items():
        if name not in known:
            raise BundleError(f"{where}: {name!r} is not known")
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if known[name] is int and not is_whole:
            raise BundleError(f"{where}: {name} is {value!r}, not a whole number")
        if known[name] is bool and not isinstance(value, bool):
            raise BundleError(f"{where}: {name} is {value!r}, not true or false")
        if isinstance(value, list) and not all(_is_number(item) for item in value):
            raise BundleError(f"{where}: {name} is {value!r}, not a list of numbers")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{where}: {error}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _read_tokenizer(path: Path, dims: Dims) -> Tokenizer:
    content = read_text(path)
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{path} is not a tokenizer") from error
    words = tokenizer.get_vocab(with_added_tokens=True)
    if PAD not in words:
        raise BundleError(f"{path} has no token {PAD}")
    if max(words.values()) >= dims.vocabulary:
        raise BundleError(f"{path} has more words than the {dims.vocabulary} of the network")
    return tokenizer


def _read_network(path: Path, dims: Dims) -> AllInOne:
    """Build the network around the stored weights; nothing is allocated before all shapes fit."""
    check_header(path)
    with torch.device("meta"):
        network = assemble(dims)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as stored:
            found = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118 not a mapping
            _check_shapes(found, wanted, path)
            state = {name: _read_tensor(stored.get_tensor(name), name, path) for name in wanted}
    except SafetensorError as error:
        raise BundleError(f"{path} is not a safetensors file: {error}") from error
    network.load_state_dict(state, assign=True)
    return network


def _check_shapes(
    found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], path: Path
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
