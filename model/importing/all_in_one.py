"""A published All-in-One checkpoint as a bundle.

What a file is, is read from its keys and shapes, never from its name. It is strict where numbers
would change: every tensor of the network must be there and fit, and a key that is not known below
one of the network's own parts is refused, as it would say that the arithmetic differs. It is
tolerant where they would not: heads that only read features are left out and reported.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from model.all_in_one.bundle import LARGEST, MOST_PATCHES
from model.all_in_one.dims import BASE, SMALL, TINY, Dims
from model.all_in_one.network import assemble
from model.bundle_checks import check_sizes
from model.bundle_files import BundleError, digest_file, write_bundle
from model.importing.all_in_one_keys import PLUS, TEMPORAL, find_dims, inflate, take_ours
from model.importing.checkpoint_file import Checkpoint, read_tensors
from model.importing.errors import ImportRefusedError
from model.importing.report import Report
from model.importing.tokenizer_source import read_bert_tokenizer
from model.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

Normalisation = Literal["imagenet", "v100"]
V100_MEAN, V100_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
RESIZE = 1.2
"""The short side is resized to so much of the crop: 268 px for 224."""
DEFAULT_FRAMES = 3
MOST_FRAMES = LARGEST["frames"]
SIZES = {TINY.width: "tiny", SMALL.width: "small", BASE.width: "base"}
HALVES = (torch.float16, torch.bfloat16)
LISTED = 3

ROLLS = (
    "The official code rolls a random draw of patches in every pass, even when it is evaluated; "
    "here the first and last patches in raster order roll, so the same question has the same "
    "answer."
)
MATCHER_ONLY = (
    "It has no projections to a joint space (published pre-trained files have none), so it is a "
    "matcher only: it re-ranks but finds nothing by itself. Train them with `reelseek train`, or "
    "put it behind an image-text model: `reelseek models add HUB_NAME --matcher NAME`."
)
MAYBE_V100 = (
    "It is of the co-training code (base+), whose published command normalises pixels with mean "
    "0.45 and deviation 0.225; `--normalisation v100` does the same."
)


@dataclass(frozen=True)
class Fitted:
    """A network that was read from a checkpoint.

    Attributes:
        dims: its sizes.
        state: its weights by our names, floating point, finite.
        report: what became of each key.
    """

    dims: Dims
    state: dict[str, Tensor]
    report: Report


def import_all_in_one(
    file: Path,
    folder: Path,
    *,
    tokenizer: str | None,
    frames: int | None = None,
    normalisation: Normalisation = "imagenet",
) -> Report:
    """Turn a released file into a bundle.

    Args:
        file: the checkpoint, as `read_tensors` takes it.
        folder: where the bundle is written.
        tokenizer: see `read_bert_tokenizer`.
        frames: clip length T; None: that of the file.
        normalisation: `imagenet`, or `v100` (mean 0.45, deviation 0.225: the other backend of
            the official code, which base+ was trained with).

    Raises:
        ImportRefusedError: the file is damaged, of another network, or does not fit together.
    """
    checkpoint = read_tensors(file)
    try:
        fitted = fit(checkpoint, frames=frames)
    except ImportRefusedError as error:
        raise ImportRefusedError(f"{file} was refused. {error}") from error
    words = read_bert_tokenizer(tokenizer, vocabulary=fitted.dims.vocabulary)
    write_bundle(
        folder,
        family=Dims.family,
        settings={
            "dims": asdict(fitted.dims),
            "preprocessing": asdict(_preprocessing(fitted.dims, normalisation)),
            "similarity_weight": 0.0,
        },
        state=fitted.state,
        tokenizer_json=words,
        card={
            "imported_from": {"file": file.name, "sha256": digest_file(file)},
            "saved_with_it": checkpoint.metadata["noted"],
            "import": fitted.report.as_json(),
        },
    )
    return fitted.report


def fit(checkpoint: Checkpoint, *, frames: int | None = None) -> Fitted:
    """Fit the tensors of a checkpoint to a network.

    Args:
        checkpoint: what the file holds.
        frames: clip length T; None: that of the file.

    Raises:
        ImportRefusedError: something is missing, unknown, of another shape, or not finite.
    """
    report = Report(recognised="")
    for name in checkpoint.metadata["not_tensors"]:
        report.ignored[name] = "not a tensor"
    ours = take_ours(checkpoint.tensors, report)
    stored_frames = _stored_frames(ours, checkpoint.metadata)
    wanted_frames = frames or stored_frames
    if not 1 <= wanted_frames <= MOST_FRAMES:
        raise ImportRefusedError(f"A clip has 1 to {MOST_FRAMES} frames, not {wanted_frames}.")
    dims = find_dims(ours, frames=wanted_frames)
    _fit_temporal(ours, dims, report)
    with torch.device("meta"):
        _check_limits(dims)
        network = assemble(dims)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    _check_names(ours.keys(), wanted)
    state = _convert(ours, wanted)
    renamed = set(report.renamed.values())
    report.used.extend(name for name in state if name not in renamed and name not in report.made)
    _tell(dims, report, is_plus=any(PLUS in name for name in report.renamed))
    return Fitted(dims, state, Report(**{**vars(report), "recognised": _name(dims, report)}))


def _stored_frames(ours: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
    """Return the clip length of the file: its temporal embedding's, else what was noted."""
    temporal = ours.get(TEMPORAL)
    if temporal is not None and temporal.ndim == 3:  # noqa: PLR2004 (1, T, C)
        return temporal.shape[1]
    noted: Any = metadata["noted"]
    for key in ("hyper_parameters", "config", "num_frames"):
        noted = noted.get(key) if isinstance(noted, dict) else None
    return noted if isinstance(noted, int) and 1 <= noted <= MOST_FRAMES else DEFAULT_FRAMES


def _fit_temporal(ours: dict[str, Tensor], dims: Dims, report: Report) -> None:
    stored = ours.get(TEMPORAL)
    shape = None if stored is None else tuple(stored.shape)
    if shape == (1, dims.frames, dims.width):
        return
    if shape is not None and (len(shape) != 3 or shape[::2] != (1, dims.width)):  # noqa: PLR2004
        raise ImportRefusedError(f"{TEMPORAL!r} has the shape {shape}, not (1, T, {dims.width}).")
    ours[TEMPORAL] = inflate(stored, frames=dims.frames, width=dims.width)
    if shape is None:
        report.made[TEMPORAL] = f"zeros for {dims.frames} frames: the file has none"
    else:
        kept = min(shape[1], dims.frames)
        report.made[TEMPORAL] = (
            f"its first {kept} of {shape[1]} rows, and zeros for {dims.frames - kept} more"
        )


def _check_limits(dims: Dims) -> None:
    try:
        check_sizes(dims, LARGEST, "its sizes")
    except BundleError as error:
        raise ImportRefusedError(f"It is larger than any network here: {error}.") from error
    if dims.num_patches > MOST_PATCHES:
        raise ImportRefusedError(f"Its {dims.num_patches} patches are over {MOST_PATCHES}.")


def _check_names(given: Any, wanted: Mapping[str, tuple[int, ...]]) -> None:
    if missing := sorted(wanted.keys() - given):
        raise ImportRefusedError(
            f"It lacks {_listed(missing)}: the file is incomplete; download it again."
        )
    if unknown := sorted(given - wanted.keys()):
        raise ImportRefusedError(
            f"It has {_listed(unknown)}, which no All-in-One network has: without it the numbers "
            "would differ, and nothing here could use it."
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _convert(
    ours: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Check every tensor; halves stay halves, doubles become singles."""
    state: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, shape in wanted.items():
        tensor = ours[name]
        if tuple(tensor.shape) != shape:
            raise ImportRefusedError(f"{name!r} has the shape {tuple(tensor.shape)}, not {shape}.")
        if not tensor.is_floating_point():
            raise ImportRefusedError(f"{name!r} holds {tensor.dtype}, not floating-point numbers.")
        tensor = tensor if tensor.dtype in HALVES else tensor.to(torch.float32)
        if not bool(tensor.isfinite().all()):
            raise ImportRefusedError(
                f"{name!r} holds numbers that are not finite (NaN or infinity): the training that "
                "wrote it had diverged, or the file is damaged."
            )
        storage = tensor.untyped_storage()
        is_shared = storage.data_ptr() in taken or storage.nbytes() != tensor.nbytes
        taken.add(storage.data_ptr())
        state[name] = tensor.clone() if is_shared else tensor
    return state


def _preprocessing(dims: Dims, normalisation: Normalisation) -> Preprocessing:
    is_v100 = normalisation == "v100"
    return Preprocessing(
        resize_short=int(dims.frame_size * RESIZE),
        frame_size=dims.frame_size,
        frames_per_clip=dims.frames,
        mean=V100_MEAN if is_v100 else IMAGENET_MEAN,
        std=V100_STD if is_v100 else IMAGENET_STD,
    )


def _name(dims: Dims, report: Report) -> str:
    plus = "+" if any(PLUS in name for name in report.renamed) else ""
    size = SIZES.get(dims.width, f"of width {dims.width}")
    kind = ", distilled class" if dims.is_distilled else ""
    return (
        f"All-in-One {size}{plus}{kind} ({dims.depth} blocks, {dims.frames} frames of "
        f"{dims.frame_size} px, {dims.max_text_tokens} text tokens)"
    )


def _tell(dims: Dims, report: Report, *, is_plus: bool) -> None:
    """Say what a person should know before they use it."""
    has_matcher = dims.has_matching_head or dims.has_rank_head
    if not has_matcher and not dims.has_projections:
        raise ImportRefusedError(
            "It has neither projections nor a matching head (as files that were tuned to answer "
            "questions), so nothing could be searched or re-ranked with it."
        )
    if has_matcher:
        report.notes.append(ROLLS)
    if not dims.has_projections:
        report.notes.append(MATCHER_ONLY)
    if not has_matcher:
        report.notes.append("It has no matching head: hits are found but not re-ranked.")
    if is_plus:
        report.notes.append(MAYBE_V100)
