"""What training asks of a network: its passes, the same for every family that can be trained.

Shapes: B pairs, L text tokens, T frames, S frame side, N image tokens, C width, E joint space,
V vocabulary, G cells along one side of a tube mask.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Fused:
    """What the fused pass makes of pairs.

    Attributes:
        text: features of the words, (B, L, C); the first is the raw CLS.
        image: features of the image tokens, in the order of their slots, (B, N, C).
        pooled: pooled first token, (B, C).
    """

    text: Tensor
    image: Tensor
    pooled: Tensor


class VideoTextNetwork(Protocol):
    """A network with unimodal passes and a fused one.

    Texts and clips first become tokens, which may be used in several passes of one step.

    Attributes:
        mask_grid: cells G along one side of a tube mask.
    """

    mask_grid: int

    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return what the other passes need of texts, (B, L, C).

        Args:
            ids: token ids, int64 (B, L).
            mask: True where a real token stands, bool (B, L).
        """

    def visual_tokens(self, frames: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return what the other passes need of clips; its shape is the family's own.

        Args:
            frames: normalised frames, (B, T, 3, S, S).
            hidden: cells whose contents are replaced by the mask token, bool (B, G, G).
        """

    def embed_words(self, words: Tensor, mask: Tensor) -> Tensor:
        """Return the unit-norm embeddings of texts from their tokens, (B, E)."""

    def embed_visual(self, visual: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips from their tokens, (B, E)."""

    def join(self, words: Tensor, mask: Tensor, visual: Tensor) -> Fused:
        """Run texts and clips together."""

    def match_logits(self, fused: Fused) -> Tensor:
        """Return the matching logits of pairs, (B, 2); class 1 = the text belongs to the clip."""

    def mlm_logits(self, features: Tensor) -> Tensor:
        """Return logits over the vocabulary for text features (..., C): (..., V)."""

    def joint_video(self, fused: Fused) -> Tensor:
        """Return what stands for a clip with hidden cells after the fused pass, (B, E)."""

    def joint_text(self, fused: Fused) -> Tensor:
        """Return what stands for a text with hidden words after the fused pass, (B, E)."""
