"""Bundles of Clover from what others trained: its parts apart, or a published checkpoint.

What a file lacks of a Clover is drawn, never passed off as trained: heads that no file has are not
in the bundle either, so what cannot be searched or matched with says so. Training adds them.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from model.bundle_files import digest_file, write_bundle
from model.clover.bert_file import bare_name, find_tokenizer, find_weights, read_heads, untie
from model.clover.dims import CloverDims
from model.clover.fitting import add_steps, below, complete, cut_positions, fit
from model.clover.foreign import Foreign, Shapes, open_foreign
from model.clover.found_sizes import fusion_sizes, text_sizes, video_sizes
from model.clover.keys import bert_names, clover_names, swin_names
from model.importing.report import Report
from model.importing.tokenizer_source import read_bert_tokenizer
from model.preprocessing import Preprocessing

ChannelOrder = Literal["rgb", "bgr"]
FRAMES = 8
FRAME_SIZE = 224
MAX_TEXT_TOKENS = 64
"""The longest texts of the published evaluations; BERT has 512 positions."""
FUSION_DEPTH = 3
POSITIONS = "embeddings.position_embeddings.weight"
PATCHES = "backbone.patch_embed.proj.weight"

UNTRAINED = (
    "The video and the text encoder come from different files and were never trained together: "
    "there is no joint space to search in and nothing to match with. Train it with "
    "`reelseek train`; the heads that it needs are added then."
)
NO_MATCHER = (
    "Clover has no matching head, so hits are found but not re-ranked until one is trained with "
    "`reelseek train`."
)
NO_RETRIEVER = (
    "It has neither projections to a joint space nor a matching head: train it before it is used."
)
BGR = (
    "The published network reads blue first; the weights of its patches were turned round, so that "
    "it reads red first as everything here."
)
SWIN_IGNORED = {
    "*relative_position_index": "a constant that is computed here",
    "cls_head.": "head that names actions",
}
BERT_IGNORED = {
    "*position_ids": "a constant that is computed here",
    "cls.predictions.decoder.bias": "the same as cls.predictions.bias",
    "cls.": "head of an objective that is not used here",
    "classifier.": "head of another task",
}
CLOVER_IGNORED = {
    "*relative_position_index": "a constant that is computed here",
    "*position_ids": "a constant that is computed here",
    "multimodal_backbone.bert_embedding.": "a table of the fusion that nothing reads",
    "text_backbone.cls.": "head of an objective that is not used here",
}


def import_parts(
    swin: Path,
    bert: Path,
    folder: Path,
    *,
    tokenizer: str | None = None,
    frames: int = FRAMES,
    frame_size: int = FRAME_SIZE,
    seed: int = 0,
) -> Report:
    """Put a Clover together from public weights, to be trained here.

    The fusion begins as the first blocks of BERT, as published.

    Args:
        swin: weights of a Video Swin, with or without `backbone.` before its names.
        bert: weights of a BERT, or the folder they are in.
        folder: where the bundle is written.
        tokenizer: see `read_bert_tokenizer`; None: that of BERT's folder if it has one.
        frames: longest clip that will be fused.
        frame_size: side of the frames, pixels.
        seed: of what is drawn.

    Raises:
        ImportRefusedError: a file is damaged, of another network, or does not fit.
    """
    report = Report(recognised="the parts of a Clover: a Video Swin and a BERT")
    video = open_foreign(swin, report, lambda key: key.removeprefix("backbone."))
    weights = find_weights(bert)
    text = open_foreign(weights, report, bare_name)
    sizes = video_sizes(video, "") | text_sizes(
        text, "", heads=read_heads(bert), max_text_tokens=MAX_TEXT_TOKENS
    )
    dims, wanted = fit(
        {
            **sizes,
            **_untrained_sizes(sizes),
            "has_mlm_head": untie(text),
            "frames": frames,
            "frame_size": frame_size,
        }
    )
    state = _take_parts(video, text, dims, wanted)
    report.notes.append(UNTRAINED)
    _write(
        folder,
        dims=dims,
        state=complete(state, wanted, dims, report, seed),
        tokenizer_json=read_bert_tokenizer(
            tokenizer or find_tokenizer(bert), vocabulary=dims.vocabulary
        ),
        sources={"video_encoder": _source(swin), "text_encoder": _source(weights)},
        report=report,
    )
    return report


def import_checkpoint(
    file: Path,
    folder: Path,
    *,
    tokenizer: str | None = None,
    frames: int | None = None,
    channels: ChannelOrder = "bgr",
    text_heads: int | None = None,
    seed: int = 0,
) -> Report:
    """Turn a checkpoint of the published code, pre-trained or tuned for retrieval, into a bundle.

    Args:
        file: the checkpoint.
        folder: where the bundle is written.
        tokenizer: see `read_bert_tokenizer`.
        frames: frames of a clip; None: as many as the file has positions for. Further positions
            are drawn, so that longer clips can be fused once that was trained.
        channels: the order of colours it was trained with; the published configuration says blue
            first.
        text_heads: attention heads of the text encoder; None: one for each 64 of its width.
        seed: of what is drawn because the file lacks it.

    Raises:
        ImportRefusedError: the file is damaged, of another network, or does not fit together.
    """
    report = Report(recognised="a Clover of the published code")
    whole = open_foreign(file, report, lambda key: key.removeprefix("module."))
    video = video_sizes(whole, "backbone.")
    text = text_sizes(
        whole, "text_backbone.bert.", heads=text_heads, max_text_tokens=MAX_TEXT_TOKENS
    )
    sizes = {**video, **text, **fusion_sizes(whole, video)}
    dims, wanted = fit({**sizes, "frames": max(sizes["frames"], frames or 0)})
    add_steps(whole, dims, seed)
    cut_positions(whole, f"text_backbone.bert.{POSITIONS}", dims)
    if channels == "bgr":
        whole.tensors[PATCHES] = whole.tensors[PATCHES].flip(1)
        report.notes.append(BGR)
    state = whole.take(wanted, clover_names, optional=["video.mask_token", "pooler."])
    whole.ignore(CLOVER_IGNORED)
    whole.finish("no published Clover")
    report.notes.append(NO_MATCHER if dims.has_projections else NO_RETRIEVER)
    _write(
        folder,
        dims=dims,
        state=complete(state, wanted, dims, report, seed),
        tokenizer_json=read_bert_tokenizer(tokenizer, vocabulary=dims.vocabulary),
        sources={"checkpoint": _source(file)},
        report=report,
        frames=frames,
    )
    return report


def _untrained_sizes(sizes: dict[str, Any]) -> dict[str, Any]:
    """Return the sizes of what neither of two encoders has."""
    return {
        "fusion_depth": min(FUSION_DEPTH, sizes["text_depth"]),
        "projection": sizes["width"],
        "projection_hidden": 2 * sizes["width"],
        "has_projections": False,
        "has_joint_heads": False,
        "has_matching_head": False,
    }


def _take_parts(
    video: Foreign, text: Foreign, dims: CloverDims, wanted: Shapes
) -> dict[str, Tensor]:
    """Take what two files have of a network."""
    cut_positions(text, POSITIONS, dims)
    state = video.take(below(wanted, "video."), swin_names, optional=["video.mask_token"])
    of_text = below(wanted, "text.", "fusion.layers.", "pooler.", "mlm_head.")
    state |= text.take(of_text, bert_names, optional=["pooler."])
    video.ignore(SWIN_IGNORED)
    text.ignore(BERT_IGNORED)
    video.finish("no Video Swin that is known here")
    text.finish("no BERT that is known here")
    return state


def _source(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": digest_file(path)}


def _write(
    folder: Path,
    *,
    dims: CloverDims,
    state: Mapping[str, Tensor],
    tokenizer_json: str,
    sources: Mapping[str, Any],
    report: Report,
    frames: int | None = None,
) -> None:
    """Write the bundle. Frames are cut as in the published evaluation: short side, then centre."""
    preprocessing = Preprocessing(
        resize_short=dims.frame_size,
        frame_size=dims.frame_size,
        frames_per_clip=frames or dims.frames,
    )
    write_bundle(
        folder,
        family=dims.family,
        settings={
            "dims": asdict(dims),
            "preprocessing": asdict(preprocessing),
            "similarity_weight": 0.0,
        },
        state=state,
        tokenizer_json=tokenizer_json,
        card={"imported_from": sources, "import": report.as_json()},
    )
