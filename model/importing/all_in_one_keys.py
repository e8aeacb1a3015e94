"""The keys of a published All-in-One checkpoint: which are ours, and what sizes they tell.

Shapes: C width, P image tokens of a frame, T frames, L text tokens, V vocabulary, E joint space.
"""

import re
from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from model.all_in_one.dims import HEAD_DIM, Dims
from model.importing.errors import ImportRefusedError
from model.importing.report import Report

PARTS = (
    "text_embeddings",
    "token_type_embeddings",
    "transformer",
    "pooler",
    "itm_score",
    "mlm_score",
    "txt_proj",
    "vid_proj",
    "rank_output",
)
"""Parts of the network; a key below them that is not known would change what it computes."""
HEADS_LEFT_OUT = {
    "mpp_score": "head of the masked-patch objective",
    "vcop_classifier": "head of the clip-order objective",
    "vqa_classifier": "answers questions, which search does not",
    "mc_vqa_classifier": "answers questions, which search does not",
    "nlvr2_classifier": "compares pairs of images, which search does not",
    "rank_output_2": "a second ranking head, for questions",
}
"""Heads of other tasks. They read features and change none."""
POSITION_IDS = "text_embeddings.position_ids"
MODALITIES = "token_type_embeddings.weight"
TEMPORAL = "transformer.temporal_embed"
RANK, MATCH = "rank_output", "itm_score.fc"
PLUS = "vtm_score.fc"
"""Name of the matching head in files of the co-training code (base+)."""
MLM = (
    "mlm_score.bias",
    "mlm_score.transform.dense.weight",
    "mlm_score.transform.dense.bias",
    "mlm_score.transform.LayerNorm.weight",
    "mlm_score.transform.LayerNorm.bias",
    "mlm_score.decoder.weight",
)
PROJECTIONS = ("txt_proj.weight", "txt_proj.bias", "vid_proj.weight", "vid_proj.bias")
WRAPPERS = ("module.", "model.")
BLOCK = re.compile(r"transformer\.blocks\.(\d{1,3})\.")


def take_ours(given: Mapping[str, Tensor], report: Report) -> dict[str, Tensor]:
    """Return the tensors of the network under our names; the report tells of the others.

    Args:
        given: the table of weights of a file.
        report: is filled.

    Raises:
        ImportRefusedError: this is another network, or only a part of one.
    """
    ours = _unwrap(given, report)
    _require_network(ours)
    _check_positions(ours, report)
    _keep_whole(ours, MLM, "the head of the masked-language objective is incomplete", report)
    _keep_two_modalities(ours, report)
    _settle_rank_head(ours, report)
    for name in list(ours):
        part = name.split(".")[0]
        if part not in PARTS:
            del ours[name]
            report.ignored[name] = HEADS_LEFT_OUT.get(part, "not a part that is known")
    return ours


def find_dims(ours: Mapping[str, Tensor], *, frames: int) -> Dims:
    """Read the sizes of the network from the shapes of its tensors.

    Args:
        ours: as `take_ours` returns them.
        frames: rows of the temporal embedding to make.

    Raises:
        ImportRefusedError: the shapes fit no network.
    """
    width = _shape(ours, "transformer.cls_token", 3)[2]
    patch = _shape(ours, "transformer.patch_embed.proj.weight", 4)[3]
    is_distilled = "transformer.dist_token" in ours
    patches = _shape(ours, "transformer.pos_embed", 3)[1] - (2 if is_distilled else 1)
    grid = isqrt(max(0, patches))
    if not grid or grid**2 != patches:
        raise ImportRefusedError(
            f"Its position table has {patches} rows for patches, which are no square grid."
        )
    if width % HEAD_DIM:
        raise ImportRefusedError(
            f"Its width {width} is not a multiple of {HEAD_DIM}, the width of every head of an "
            "All-in-One network."
        )
    try:
        return Dims(
            width=width,
            depth=1 + max(int(found[1]) for found in map(BLOCK.match, ours) if found),
            mlp_width=_shape(ours, "transformer.blocks.0.mlp.fc1.weight", 2)[0],
            patch=patch,
            frame_size=patch * grid,
            frames=frames,
            max_text_tokens=_shape(ours, "text_embeddings.position_embeddings.weight", 2)[0],
            vocabulary=_shape(ours, "text_embeddings.word_embeddings.weight", 2)[0],
            projection=_shape(ours, PROJECTIONS[0], 2)[0] if PROJECTIONS[0] in ours else 512,
            is_distilled=is_distilled,
            has_projections=any(name in ours for name in PROJECTIONS),
            has_matching_head=any(name.startswith(MATCH) for name in ours),
            has_mlm_head=MLM[0] in ours,
            has_rank_head=any(name.startswith(f"{RANK}.") for name in ours),
        )
    except ValueError as error:
        raise ImportRefusedError(f"Its shapes fit no network: {error}.") from error


def inflate(temporal: Tensor | None, *, frames: int, width: int) -> Tensor:
    """Fit a temporal embedding to clips of another length, as the official code does.

    Args:
        temporal: as stored, (1, T, C); None if the file has none.
        frames: T that is wanted: the first rows are kept, rows that are added are zeros.
        width: C.

    Returns:
        (1, frames, C).
    """
    fitted = torch.zeros(1, frames, width)
    if temporal is not None:
        kept = min(frames, temporal.shape[1])
        fitted[:, :kept] = temporal[:, :kept]
    return fitted


def _unwrap(given: Mapping[str, Tensor], report: Report) -> dict[str, Tensor]:
    """Undo what wrappers and the co-training code did to the names."""
    wrapper = next((w for w in WRAPPERS if given and all(n.startswith(w) for n in given)), "")
    ours: dict[str, Tensor] = {}
    for name, tensor in given.items():
        own = name.removeprefix(wrapper)
        if own.startswith(f"{PLUS}."):
            own = MATCH + own.removeprefix(PLUS)
        if own in ours:
            raise ImportRefusedError(
                f"It has two matching heads, {MATCH} and {PLUS}: which one was trained is not said."
            )
        ours[own] = tensor
        if own != name:
            report.renamed[name] = own
    return ours


def _require_network(ours: Mapping[str, Tensor]) -> None:
    for name in ("transformer.cls_token", "text_embeddings.word_embeddings.weight"):
        if name not in ours:
            raise ImportRefusedError(
                f"It is not an All-in-One checkpoint: it lacks {name!r}. Video Swin and BERT are "
                "read by `reelseek models import-clover`, CLIP and SigLIP by `reelseek models add`."
            )
    if not any(BLOCK.match(name) for name in ours):
        raise ImportRefusedError("It is not an All-in-One checkpoint: it has no blocks.")


def _check_positions(ours: dict[str, Tensor], report: Report) -> None:
    """Refuse a file whose position table is not the one that its text was numbered by."""
    numbers = ours.pop(POSITION_IDS, None)
    if numbers is None:
        return
    report.ignored[POSITION_IDS] = "counts from 0, nothing is learned in it"
    rows = _shape(ours, "text_embeddings.position_embeddings.weight", 2)[0]
    if numbers.numel() != rows:
        raise ImportRefusedError(
            f"It numbers {numbers.numel()} places of a text but its position table has {rows} "
            "rows: one of the two is of another run. Save the model again after training it with "
            "the length that it will be used with."
        )


def _keep_whole(ours: dict[str, Tensor], names: tuple[str, ...], why: str, report: Report) -> None:
    """Leave a head out of which something is missing."""
    if all(name in ours for name in names):
        return
    for name in names:
        if ours.pop(name, None) is not None:
            report.ignored[name] = why


def _keep_two_modalities(ours: dict[str, Tensor], report: Report) -> None:
    """Drop the third row of the modality table, which only pairs of images use."""
    table = ours.get(MODALITIES)
    if table is not None and table.ndim == 2 and len(table) == 3:  # noqa: PLR2004 (rows)
        ours[MODALITIES] = table[:2]
        report.notes.append(f"The third row of {MODALITIES} was left out: only NLVR2 uses it.")


def _settle_rank_head(ours: dict[str, Tensor], report: Report) -> None:
    """Keep a ranking head that was trained, not one that is still row 1 of the matching head."""
    weight, bias = ours.get(f"{RANK}.weight"), ours.get(f"{RANK}.bias")
    if weight is None or bias is None:
        return
    rows, offsets = ours.get(f"{MATCH}.weight"), ours.get(f"{MATCH}.bias")
    is_row = (
        rows is not None
        and offsets is not None
        and torch.equal(weight, rows[1:2])
        and torch.equal(bias, offsets[1:2])
    )
    if is_row:
        for name in (f"{RANK}.weight", f"{RANK}.bias"):
            del ours[name]
            report.ignored[name] = "still equal to row 1 of the matching head"
    else:
        report.notes.append(
            "It was tuned for ranking: hits are re-ranked by its ranking head instead of the "
            "matching head, so what is shown as match probability orders hits but is no calibrated "
            "probability."
        )


def _shape(ours: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in ours:
        raise ImportRefusedError(f"It lacks {name!r}: the file is incomplete.")
    shape = tuple(ours[name].shape)
    if len(shape) != dimensions:
        raise ImportRefusedError(f"{name!r} has the shape {shape}, not one of {dimensions} sizes.")
    return shape
