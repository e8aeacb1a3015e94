"""Which texts each clip is asked about.

Shapes: B rows of a batch, b clips of a part, K texts for each clip, L text tokens, C width.

Wrong pairs are made by giving clips other texts, never the other way round: texts are known to
every process, clips are not, so that a pair is always asked about where its clip is.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.data import Batch, trim
from model.objectives.matching import hard_negatives, keep_half, uniform_negatives
from model.passes import Fused, VideoTextNetwork

Negatives = Literal["uniform", "hard"]
HARDNESS = 0.1
"""Temperature at which hard partners are drawn."""


@dataclass(frozen=True)
class Partners:
    """Texts that each clip is asked about.

    Attributes:
        texts: rows of the batch, int64 (B, K) on the CPU.
        is_true: whether the text is true of the clip, bool (B, K).
        matched: columns of which the matching objective asks.
        ranked: columns of which the first, the clip's own text, should score best.
    """

    texts: Tensor
    is_true: Tensor
    matched: slice
    ranked: slice


def choose_partners(
    is_true: Tensor,
    similarity: Tensor | None,
    *,
    negatives: Negatives,
    others: int,
    generator: torch.Generator,
) -> Partners:
    """Choose the texts that each clip is asked about.

    `uniform` is All-in-One's matching: half of the clips keep their text, the others get any other.
    `hard` asks about every clip's own text and a wrong one that is drawn the likelier the more
    similar it is (ALBEF, arXiv:2107.07651).

    Args:
        is_true: whether text i is true of clip j, bool (B, B). A clip of which every text is true
            is asked about any of them in place of a wrong one, as one that is right.
        similarity: of clips (rows) with texts, (B, B); needed for `hard` alone.
        negatives: how wrong texts are drawn for matching.
        others: how many wrong texts to rank each clip's own text against, drawn uniformly.
        generator: where the randomness comes from.

    Raises:
        ValueError: hard negatives are wanted, and no similarities are given.
    """
    of_clip = is_true.T  # (B, B): rows are clips
    barred = of_clip & ~of_clip.all(dim=1, keepdim=True)
    own = torch.arange(len(of_clip))
    false = [uniform_negatives(barred, generator=generator) for _ in range(others)]
    if negatives == "hard":
        if similarity is None:
            raise ValueError("hard negatives need similarities")
        hard = hard_negatives(similarity.cpu(), barred, temperature=HARDNESS, generator=generator)
        columns, matched, ranked = [own, hard, *false], slice(0, 2), slice(0, None)
    else:
        wrong = uniform_negatives(barred, generator=generator)
        asked = torch.where(keep_half(len(own), generator=generator).bool(), own, wrong)
        columns, matched, ranked = [asked, own, *false], slice(0, 1), slice(1, None)
        if not others:
            columns = columns[:1]
    texts = torch.stack(columns, dim=1)  # (B, K)
    return Partners(texts, of_clip.gather(1, texts), matched, ranked)


def join_with(
    network: VideoTextNetwork, batch: Batch, texts: Tensor, visual: Tensor
) -> tuple[Fused, Tensor]:
    """Run clips together with the texts that they are asked about.

    Args:
        network: whose fused pass.
        batch: of which the texts are rows.
        texts: int64 (b, K) on the CPU.
        visual: tokens of b clips; their shape is the family's own.

    Returns:
        the result for b K pairs, clip by clip, and which of their words are real, bool (b K, L).
    """
    rows, back = texts.flatten().unique(return_inverse=True)
    tokens = trim(batch.tokens[rows]).to(visual.device)
    back = back.to(visual.device)
    words = network.text_tokens(tokens.ids, tokens.mask)[back]  # (b K, L, C)
    mask = tokens.mask[back]
    clips = visual.repeat_interleave(texts.shape[1], dim=0)
    return network.join(words, mask, clips), mask
