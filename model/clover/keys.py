"""How the tensors of other files are named: the published Clover, Video Swin and BERT.

One tensor of ours may be several of theirs, one above the other: BERT stores the projections to
queries, keys and values apart.
"""

from collections.abc import Mapping

BERT_BLOCK = {
    "attn.qkv": tuple(f"attention.self.{part}" for part in ("query", "key", "value")),
    "attn.proj": ("attention.output.dense",),
    "norm1": ("attention.output.LayerNorm",),
    "fc1": ("intermediate.dense",),
    "fc2": ("output.dense",),
    "norm2": ("output.LayerNorm",),
}
"""Modules of one block of BERT."""

CLOVER_PREFIXES = {
    "video.": "backbone.",
    "text.embeddings.": "text_backbone.bert.embeddings.",
    "fusion.fc_in.": "multimodal_backbone.fc_in.",
    "fusion.norm.": "multimodal_backbone.norm.",
    "fusion.modality.": "multimodal_backbone.token_type_embeddings.",
    "fusion.space_positions": "multimodal_backbone.vis_space_pos",
    "fusion.time_positions": "multimodal_backbone.vis_tempor_pos",
    "pooler.dense.": "text_backbone.bert.pooler.dense.",
    "mlm_head.bias": "mlm_head.predictions.decoder.bias",
    "mlm_head.": "mlm_head.predictions.",
    "video_proj.fc1.": "ssl_head.img_projector.0.",
    "video_proj.norm1.": "ssl_head.img_projector.1.",
    "video_proj.fc2.": "ssl_head.img_projector.3.",
    "video_proj.norm2.": "ssl_head.img_projector.4.",
    "text_proj.fc1.": "ssl_head.text_projector.0.",
    "text_proj.fc2.": "ssl_head.text_projector.2.",
    "joint_video_head.fc": "mlm_ssl_V_head.img_fc",
    "joint_video_head.norm": "mlm_ssl_V_head.img_bn",
    "joint_text_head.": "mlm_ssl_T_head.",
}
"""The published Clover; the first that fits counts."""

CLOVER_BLOCKS = {
    "text.layers.": "text_backbone.bert.encoder.layer.",
    "fusion.layers.": "multimodal_backbone.bert_encoder.layer.",
}

BERT_PREFIXES = {
    "text.embeddings.": "embeddings.",
    "pooler.dense.": "pooler.dense.",
    "mlm_head.bias": "cls.predictions.bias",
    "mlm_head.": "cls.predictions.",
}
"""BERT alone, without the prefix `bert.` that most files have."""

BERT_BLOCKS = {"text.layers.": "encoder.layer.", "fusion.layers.": "encoder.layer."}
"""The fusion begins as the first blocks of BERT."""

SWIN_PREFIXES = {"video.": ""}
"""Video Swin alone, without the prefix `backbone.` that most files have."""


def clover_names(name: str) -> tuple[str, ...]:
    """Return the names in the published Clover of a tensor of ours."""
    return _names(name, CLOVER_PREFIXES, CLOVER_BLOCKS)


def bert_names(name: str) -> tuple[str, ...]:
    """Return the names in BERT of a tensor of ours."""
    return _names(name, BERT_PREFIXES, BERT_BLOCKS)


def swin_names(name: str) -> tuple[str, ...]:
    """Return the names in Video Swin of a tensor of ours."""
    return _names(name, SWIN_PREFIXES, {})


def _names(name: str, prefixes: Mapping[str, str], blocks: Mapping[str, str]) -> tuple[str, ...]:
    for ours, theirs in blocks.items():
        if name.startswith(ours):
            index, _, rest = name.removeprefix(ours).partition(".")
            module, _, kind = rest.rpartition(".")
            return tuple(f"{theirs}{index}.{part}.{kind}" for part in BERT_BLOCK[module])
    for ours, theirs in prefixes.items():
        if name.startswith(ours):
            return (f"{theirs}{name.removeprefix(ours)}",)
    return ()
