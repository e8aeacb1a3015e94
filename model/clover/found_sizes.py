"""The sizes of a network, read from the shapes of the tensors that others saved."""

from math import isqrt
from typing import Any

from model.clover.dims import MOST_STAGES
from model.clover.foreign import Foreign, count_of, shape_of
from model.importing.errors import ImportRefusedError

TABLE = "attn.relative_position_bias_table"
INDEX = "attn.relative_position_index"
LARGEST_WINDOW = 32
BERT_HEAD_DIM = 64
"""Width of one head in every published BERT."""


def video_sizes(foreign: Foreign, prefix: str) -> dict[str, Any]:
    """Return the sizes of a Video Swin, as `CloverDims` names them.

    Args:
        foreign: the file.
        prefix: what the names of its tensors begin with.

    Raises:
        ImportRefusedError: it is no Video Swin.
    """
    projection = f"{prefix}patch_embed.proj.weight"
    if projection in foreign.tensors and foreign.tensors[projection].ndim == 4:  # noqa: PLR2004
        raise ImportRefusedError(
            f"{foreign.path} is a Swin for images; a Video Swin is needed, whose patches span "
            "several frames."
        )
    width, colours, tubelet, patch, other = shape_of(foreign, projection, 5)
    if colours != 3 or patch != other:  # noqa: PLR2004 (red, green, blue)
        raise ImportRefusedError(f"{foreign.path} reads no square patches of colour frames.")
    stages = count_of(foreign, f"{prefix}layers.")
    if not 1 <= stages <= MOST_STAGES:
        raise ImportRefusedError(f"{foreign.path} is no Video Swin: it has {stages} stages.")
    first = [f"{prefix}layers.{stage}.blocks.0.{TABLE}" for stage in range(stages)]
    tables = [shape_of(foreign, name, 2) for name in first]
    return {
        "embed_width": width,
        "tubelet": tubelet,
        "patch": patch,
        "depths": tuple(
            count_of(foreign, f"{prefix}layers.{stage}.blocks.") for stage in range(stages)
        ),
        "heads": tuple(heads for _, heads in tables),
        "window": _find_window(foreign, tables[0][0], f"{prefix}layers.0.blocks.0.{INDEX}"),
    }


def _find_window(foreign: Foreign, rows: int, index: str) -> tuple[int, int, int]:
    """Return the window that has so many offsets: as wide as can be, and as high as wide."""
    tokens = shape_of(foreign, index, 2)[0] if index in foreign.tensors else None
    for side in range(LARGEST_WINDOW, 0, -1):
        frames, rest = divmod(rows, (2 * side - 1) ** 2)
        if rest or frames % 2 == 0:
            continue
        window = ((frames + 1) // 2, side, side)
        if tokens is None or window[0] * side**2 == tokens:
            return window
    raise ImportRefusedError(
        f"{foreign.path}: no square window has the {rows} relative positions of its tables."
    )


def text_sizes(
    foreign: Foreign, prefix: str, *, heads: int | None, max_text_tokens: int
) -> dict[str, Any]:
    """Return the sizes of a BERT, as `CloverDims` names them.

    Args:
        foreign: the file.
        prefix: what the names of its tensors begin with.
        heads: attention heads; None: one for each 64 of the width, as published.
        max_text_tokens: longest text that is wanted; no longer than its positions.

    Raises:
        ImportRefusedError: it is no BERT.
    """
    vocabulary, width = shape_of(foreign, f"{prefix}embeddings.word_embeddings.weight", 2)
    positions, _ = shape_of(foreign, f"{prefix}embeddings.position_embeddings.weight", 2)
    hidden, _ = shape_of(foreign, f"{prefix}encoder.layer.0.intermediate.dense.weight", 2)
    return {
        "vocabulary": vocabulary,
        "width": width,
        "text_depth": count_of(foreign, f"{prefix}encoder.layer."),
        "text_heads": heads or max(1, width // BERT_HEAD_DIM),
        "mlp_width": hidden,
        "max_text_tokens": min(max_text_tokens, positions),
    }


def fusion_sizes(foreign: Foreign, video: dict[str, Any]) -> dict[str, Any]:
    """Return the sizes of the fusion and of the heads of a published Clover.

    Args:
        foreign: the file.
        video: sizes of its video encoder.

    Raises:
        ImportRefusedError: it is no Clover.
    """
    places = shape_of(foreign, "multimodal_backbone.vis_space_pos", 4)[2]
    steps = shape_of(foreign, "multimodal_backbone.vis_tempor_pos", 4)[1]
    halvings: int = 2 ** (len(video["depths"]) - 1)
    sizes = {
        "fusion_depth": count_of(foreign, "multimodal_backbone.bert_encoder.layer."),
        "frames": steps * video["tubelet"],
        "frame_size": isqrt(places) * halvings * video["patch"],
        "has_projections": "ssl_head.img_projector.0.weight" in foreign.tensors,
        "has_joint_heads": "mlm_ssl_V_head.img_fc1.weight" in foreign.tensors,
        "has_mlm_head": "mlm_head.predictions.decoder.weight" in foreign.tensors,
        "has_matching_head": False,
    }
    if sizes["has_projections"]:
        hidden, _ = shape_of(foreign, "ssl_head.img_projector.0.weight", 2)
        projection, _ = shape_of(foreign, "ssl_head.img_projector.3.weight", 2)
        sizes |= {"projection": projection, "projection_hidden": hidden}
    return sizes
