"""Clover's pre-training loss (arXiv:2207.07885) put together. Shapes: B pairs, E joint space."""

from dataclasses import dataclass

from torch import Tensor

from model.objectives.contrastive import TEMPERATURE
from model.objectives.pairwise import MARGIN, pairwise_ranking_loss
from model.objectives.tri_modal import exclusive_nce


@dataclass(frozen=True, kw_only=True)
class TriModal:
    """What the passes over a batch make of its pairs; embeddings of any length, each (B, E).

    Attributes:
        video: of clips alone (v).
        text: of texts alone (t).
        masked_text: of texts with hidden words alone (t_m).
        joint_video: of clips with hidden cells read together with whole texts (m_V).
        joint_text: of whole clips read together with texts with hidden words (m_T).
        masked_video: of clips with hidden cells alone (v_m); None saves this pass, and what is
            asked of it is left out.
    """

    video: Tensor
    text: Tensor
    masked_text: Tensor
    joint_video: Tensor
    joint_text: Tensor
    masked_video: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class CloverWeights:
    """What each part counts.

    The published code says 1 for all, but divides the gradients of these parts by the number of
    processes (32) by mistake, and not those of the masked words: 1 / 32 is the balance that it ran.

    Attributes:
        alignment: of both alignment parts.
        ranking: of both ranking parts.
    """

    alignment: float = 1.0
    ranking: float = 1.0


def clover_losses(
    embeddings: TriModal,
    *,
    temperature: float = TEMPERATURE,
    margin: float = MARGIN,
    weights: CloverWeights | None = None,
) -> dict[str, Tensor]:
    """Return the weighted parts that embeddings decide, by name, scalars.

    The fifth part, masked words, is `focal.focal_masked_language_loss`. Rows of all processes
    belong here, gathered by the caller: every row is a negative of every other.

    Args:
        embeddings: of the whole batch.
        temperature: divides the cosines.
        margin: of the ranking parts, in units of cosine / temperature.
        weights: all 1 if not given.

    Returns:
        `align_video`, `rank_text`, `align_text`, and `rank_video` if masked clips were embedded.
    """
    weights = weights or CloverWeights()
    video, text, masked_video = embeddings.video, embeddings.text, embeddings.masked_video
    scale = {"temperature": temperature}
    of_video = (text, embeddings.masked_text, embeddings.joint_video)
    of_text: tuple[Tensor, ...] = (video, embeddings.joint_text)
    if masked_video is not None:
        of_text = (video, masked_video, embeddings.joint_text)
    ranked = pairwise_ranking_loss(video, text, embeddings.masked_text, margin=margin, **scale)
    losses = {
        "align_video": weights.alignment * exclusive_nce(video, *of_video, **scale),
        "rank_text": weights.ranking * ranked,
        "align_text": weights.alignment * exclusive_nce(text, *of_text, **scale),
    }
    if masked_video is not None:
        ranked = pairwise_ranking_loss(text, video, masked_video, margin=margin, **scale)
        losses["rank_video"] = weights.ranking * ranked
    return losses
