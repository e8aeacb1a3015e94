"""Clover's objectives (arXiv:2207.07885) for any network: alignment of three modalities, focal MLM.

Clover trains no matching head, so nothing could re-rank; here one may be trained beside.
Shapes: B rows of a batch, b of a part, L text tokens, G cells of a tube mask, E joint space.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from model.data import Batch, trim
from model.objectives.clover import CloverWeights, TriModal, clover_losses
from model.objectives.contrastive import TEMPERATURE
from model.objectives.focal import FOCUS, focal_masked_language_loss
from model.objectives.masked_language import IGNORED
from model.objectives.matching import matching_loss
from model.objectives.pairwise import MARGIN
from model.passes import VideoTextNetwork
from model.recipes.partners import Negatives, Partners, choose_partners, join_with
from model.recipes.recipe import Passes, share
from model.semantic_masking import HIDDEN_SHARE, SemanticMasker
from model.tube_masking import tube_masks

PassPlan = Literal["full", "no_masked_video"]


@dataclass(frozen=True, kw_only=True)
class CloverObjectives:
    """What is learned, and how much each part counts.

    Attributes:
        passes: `full` runs every pass of the paper; `no_masked_video` saves the video-only pass
            over clips with hidden cells, and leaves out what is asked of it.
        alignment_weight: of both alignment parts.
        ranking_weight: of both pairwise ranking parts.
        masked_weight: of focal MLM.
        masked_share: share of the nouns and verbs that are hidden.
        matching_weight: of VTM, which Clover does not have: one or two more fused passes a pair,
            and a head that can re-rank. 0 leaves it out.
        negatives: how the wrong texts of VTM are drawn.
        temperature: divides the cosines.
        margin: of pairwise ranking, in units of cosine / temperature.
        focus: how little the easy words count in MLM.
    """

    passes: PassPlan = "full"
    alignment_weight: float = 1.0
    ranking_weight: float = 1.0
    masked_weight: float = 1.0
    masked_share: float = HIDDEN_SHARE
    matching_weight: float = 1.0
    negatives: Negatives = "hard"
    temperature: float = TEMPERATURE
    margin: float = MARGIN
    focus: float = FOCUS

    @property
    def weights(self) -> CloverWeights:
        """What each part that embeddings decide counts."""
        return CloverWeights(alignment=self.alignment_weight, ranking=self.ranking_weight)


class CloverRecipe:
    """Clover's objectives.

    Args:
        network: a `VideoTextNetwork` with joint heads, trained in place.
        masker: hides nouns and verbs.
        objectives: what is learned.
    """

    def __init__(
        self, *, network: nn.Module, masker: SemanticMasker, objectives: CloverObjectives
    ) -> None:
        self.network = network
        self.parts = nn.ModuleDict({"network": network})
        self.masker = masker
        self.objectives = objectives

    def start(self, batch: Batch, step: int, generator: torch.Generator) -> "CloverWork":  # noqa: ARG002
        """Begin a step: draw hidden words and cells for the whole batch.

        Raises:
            ValueError: the batch has a single pair, to which no other can be compared.
        """
        if len(batch) < 2:  # noqa: PLR2004 - one and another
            raise ValueError("a batch needs at least two pairs to compare")
        return CloverWork(self, batch, generator)


@dataclass(frozen=True)
class Seen:
    """What the second half of a step needs of a part.

    Attributes:
        visual: tokens of its clips; their shape is the family's own.
        named: features of its texts with hidden words after the fused pass, (b, L, C).
    """

    visual: Tensor
    named: Tensor


class CloverWork:
    """One step of the recipe."""

    def __init__(self, recipe: CloverRecipe, batch: Batch, generator: torch.Generator) -> None:
        self._network = cast("VideoTextNetwork", recipe.network)
        self._objectives = recipe.objectives
        self._batch = batch
        self._generator = generator
        self._device = next(recipe.network.parameters()).device
        self._partners: Partners | None = None
        recipe.masker.generator = generator
        self._masked = recipe.masker(batch.tokens)
        seed = int(torch.randint(2**62, (), generator=generator))
        draw = random.Random(seed)  # noqa: S311 - reproducible masks, no secrets
        self._hidden = tube_masks(len(batch), grid=self._network.mask_grid, draw=draw)  # (B, G, G)

    def embed(self, rows: slice) -> Passes[Seen]:
        """Send a part through the passes that the alignment compares."""
        network, device = self._network, self._device
        frames = self._batch.frames_of(rows, device)
        whole = trim(self._batch.tokens[rows]).to(device)
        masked_ids = self._masked.tokens.ids[rows, : whole.ids.shape[1]].to(device)
        visual = network.visual_tokens(frames)
        hidden = network.visual_tokens(frames, hidden=self._hidden[rows].to(device))
        words = network.text_tokens(whole.ids, whole.mask)
        masked = network.text_tokens(masked_ids, whole.mask)
        of_hidden = network.join(words, whole.mask, hidden)
        of_masked = network.join(masked, whole.mask, visual)
        embeddings = {
            "video": network.embed_visual(visual),
            "text": network.embed_words(words, whole.mask),
            "masked_text": network.embed_words(masked, whole.mask),
            "joint_video": network.joint_video(of_hidden),
            "joint_text": network.joint_text(of_masked),
        }
        if self._objectives.passes == "full":
            embeddings["masked_video"] = network.embed_visual(hidden)
        full = {name: value.float() for name, value in embeddings.items()}
        return Passes(full, Seen(visual, of_masked.text))

    def contrast(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return alignment and pairwise ranking, and choose the wrong pairs of VTM."""
        chosen = self._objectives
        if chosen.matching_weight:
            similarity = (embeddings["video"] @ embeddings["text"].T).detach()  # rows are clips
            self._partners = choose_partners(
                self._batch.is_true,
                similarity,
                negatives=chosen.negatives,
                others=0,
                generator=self._generator,
            )
        return clover_losses(
            TriModal(**embeddings),
            temperature=chosen.temperature,
            margin=chosen.margin,
            weights=chosen.weights,
        )

    def pair(self, rows: slice, passes: Passes[Seen]) -> dict[str, Tensor]:
        """Return the part's share of focal MLM and VTM."""
        losses = {}
        if self._objectives.masked_weight:
            losses["masked"] = self._named_words(rows, passes.kept.named)
        if self._partners is not None:
            losses["matching"] = self._asked_about(rows, passes.kept.visual, self._partners)
        return losses

    def _named_words(self, rows: slice, features: Tensor) -> Tensor:
        labels = self._masked.labels[rows, : features.shape[1]].to(self._device)
        hidden = labels != IGNORED
        loss = focal_masked_language_loss(
            self._network.mlm_logits(features[hidden]),
            labels[hidden],
            focus=self._objectives.focus,
        )
        total = int((self._masked.labels != IGNORED).sum())
        return self._objectives.masked_weight * share(loss, int(hidden.sum()), total)

    def _asked_about(self, rows: slice, visual: Tensor, partners: Partners) -> Tensor:
        fused, _ = join_with(self._network, self._batch, partners.texts[rows], visual)
        labels = partners.is_true[rows].flatten().to(self._device)
        loss = matching_loss(self._network.match_logits(fused), labels)
        share_of = share(loss, rows.stop - rows.start, len(self._batch))
        return self._objectives.matching_weight * share_of
