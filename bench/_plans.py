"""What training plans cost: how often each runs which pass, and what a pass costs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.all_in_one.network import AllInOne

MASKED_SHARE = 0.15
"""Of the tokens, whose words the decoder names."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How often one pair goes through each pass in a forward step.

    Attributes:
        texts: text-only passes.
        videos: video-only passes.
        fused: fused passes.
        patches: patch embeddings; a clip with hidden cells needs its own.
    """

    texts: int
    videos: int
    fused: int
    patches: int

    def cost(self, passes: dict[str, float]) -> float:
        """Return what one pair costs, hidden words included, in the unit of the passes."""
        return (
            self.texts * passes["text"]
            + self.videos * passes["video"]
            + self.fused * passes["fused"]
            + self.patches * passes["patches"]
            + passes["words"]
        )


PLANS = {
    "native: MLM, VTM": TrainingPlan(texts=0, videos=0, fused=2, patches=1),
    "native and VTC": TrainingPlan(texts=1, videos=1, fused=2, patches=1),
    "Clover, all passes": TrainingPlan(texts=2, videos=2, fused=2, patches=2),
    "Clover and VTM": TrainingPlan(texts=2, videos=2, fused=3, patches=2),
    "Clover without v_m": TrainingPlan(texts=2, videos=1, fused=2, patches=2),
    "Clover without v_m, and VTM": TrainingPlan(texts=2, videos=1, fused=3, patches=2),
}
Count = Callable[[Callable[[], object]], float]


def pass_costs(network: AllInOne, count: Count, *, is_whole: bool) -> dict[str, float]:
    """Return what each pass costs for one item.

    Args:
        network: on the meta device.
        count: returns what running something costs.
        is_whole: unimodal passes compute every token in the last block, as the published code
            does; else the first alone, as ours do.
    """
    length = network.text_embeddings.position_embeddings.num_embeddings
    ids = torch.zeros(1, length, dtype=torch.long, device="meta")
    mask = torch.ones(1, length, dtype=torch.bool, device="meta")
    num_frames = network.transformer.temporal_embed.shape[1]
    side = network.grid * network.transformer.patch_embed.patch
    frames = torch.zeros(1, num_frames, 3, side, side, device="meta")
    words, visual = network.text_tokens(ids, mask), network.visual_tokens(frames)
    patches = count(lambda: network.visual_tokens(frames))
    read = network.text_features if is_whole else network.embed_text
    watch = network.video_features if is_whole else network.embed_video
    named = torch.zeros(round(MASKED_SHARE * length), words.shape[-1], device="meta")
    return {
        "text": count(lambda: read(ids, mask)),
        "video": count(lambda: watch(frames)) - patches,
        "fused": count(lambda: network.join(words, mask, visual)),
        "patches": patches,
        "words": count(lambda: network.mlm_logits(named)),
    }
