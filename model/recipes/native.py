"""All-in-One's own objectives (arXiv:2203.07303): VTC, VTM with WPA, MLM, and fused ranking.

They train any network with unimodal and fused passes. Shapes: B rows of a batch, b of a part, K
texts that each clip is asked about, L text tokens, E joint space, C width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from model.data import Batch, trim
from model.masking import HIDDEN_SHARE, MaskedWords, WordMasker
from model.objectives.contrastive import TEMPERATURE, contrastive_loss
from model.objectives.masked_language import IGNORED, masked_language_loss
from model.objectives.matching import matching_loss
from model.objectives.ranking import ranking_loss
from model.objectives.word_patch_alignment import alignment_loss
from model.passes import Fused, VideoTextNetwork
from model.recipes.partners import Negatives, Partners, choose_partners, join_with
from model.recipes.recipe import Passes, share


@dataclass(frozen=True, kw_only=True)
class NativeObjectives:
    """What is learned, and how much each part counts; 0 leaves it out.

    Attributes:
        contrast_weight: of VTC, the two directions added.
        temperature: divides the similarities of VTC.
        closeness_weight: of one minus the similarity of a clip and its text. VTC is content once
            the texts that are seen tell clips apart; where texts have meanings that are known
            beforehand, being close to them finds clips by other texts too. The published recipe
            has nothing like it.
        matching_weight: of VTM.
        negatives: how the wrong texts of VTM are drawn: `uniform` as published, or `hard`.
        alignment_weight: of WPA, whose published factor of 0.1 comes on top; it needs VTM.
        masked_weight: of MLM.
        masked_share: share of words that are hidden.
        ranking_weight: of telling a clip's own text from others by the fused pass.
        ranked_texts: how many others, drawn uniformly; those of hard VTM come on top.
    """

    contrast_weight: float = 1.0
    temperature: float = TEMPERATURE
    closeness_weight: float = 0.0
    matching_weight: float = 1.0
    negatives: Negatives = "hard"
    alignment_weight: float = 1.0
    masked_weight: float = 1.0
    masked_share: float = HIDDEN_SHARE
    ranking_weight: float = 0.0
    ranked_texts: int = 1

    def __post_init__(self) -> None:
        """Refuse parts that do not go together."""
        if self.alignment_weight and not self.matching_weight:
            raise ValueError("word-patch alignment compares pairs of the matching objective")
        if self.ranking_weight and self.ranked_texts < 1:
            raise ValueError("ranking needs other texts to rank the own one against")

    @property
    def has_pairs(self) -> bool:
        """The fused pass is asked about right and wrong pairs."""
        return bool(self.matching_weight or self.ranking_weight)

    @property
    def needs_embeddings(self) -> bool:
        """The unimodal passes are run."""
        wanted = self.contrast_weight or self.closeness_weight
        return bool(wanted or (self.has_pairs and self.negatives == "hard"))


class NativeRecipe:
    """All-in-One's objectives.

    Args:
        network: a `VideoTextNetwork`, trained in place.
        masker: hides words for MLM.
        objectives: what is learned.
        num_special: image tokens of the fused pass that stand for no place, before the others.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        masker: WordMasker,
        objectives: NativeObjectives,
        num_special: int,
    ) -> None:
        self.network = network
        self.parts = nn.ModuleDict({"network": network})
        self.masker = masker
        self.objectives = objectives
        self.num_special = num_special

    def start(self, batch: Batch, step: int, generator: torch.Generator) -> "NativeWork":  # noqa: ARG002
        """Begin a step.

        Raises:
            ValueError: the batch has a single pair, to which no other can be compared.
        """
        if len(batch) < 2:  # noqa: PLR2004 - one and another
            raise ValueError("a batch needs at least two pairs to compare")
        return NativeWork(self, batch, generator)


@dataclass(frozen=True)
class Seen:
    """The tokens of a part's clips: their shape is the family's own."""

    visual: Tensor


class NativeWork:
    """One step of the recipe."""

    def __init__(self, recipe: NativeRecipe, batch: Batch, generator: torch.Generator) -> None:
        self._network = cast("VideoTextNetwork", recipe.network)
        self._num_special = recipe.num_special
        self._objectives = recipe.objectives
        self._batch = batch
        self._generator = generator
        self._device = next(recipe.network.parameters()).device
        self._masked: MaskedWords | None = None
        self._partners: Partners | None = None
        if recipe.objectives.masked_weight:
            recipe.masker.generator = generator
            self._masked = recipe.masker(batch.tokens)

    def embed(self, rows: slice) -> Passes[Seen]:
        """Send a part through the unimodal passes."""
        network, tokens = self._network, trim(self._batch.tokens[rows]).to(self._device)
        visual = network.visual_tokens(self._batch.frames_of(rows, self._device))
        if not self._objectives.needs_embeddings:
            return Passes({}, Seen(visual))
        words = network.text_tokens(tokens.ids, tokens.mask)  # (b, L, C)
        texts = network.embed_words(words, tokens.mask).float()  # (b, E)
        videos = network.embed_visual(visual).float()  # (b, E)
        return Passes({"texts": texts, "videos": videos}, Seen(visual))

    def contrast(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return VTC, and choose the wrong pairs of the fused pass."""
        chosen, losses = self._objectives, {}
        similarity = None
        if embeddings:
            texts, videos = embeddings["texts"], embeddings["videos"]
            similarity = (videos @ texts.T).detach()  # (B, B): rows are clips
            if chosen.contrast_weight:
                loss = contrastive_loss(texts, videos, temperature=chosen.temperature)
                losses["contrast"] = chosen.contrast_weight * loss
            if chosen.closeness_weight:
                apart = 1 - (texts * videos).sum(dim=1).mean()
                losses["closeness"] = chosen.closeness_weight * apart
        if chosen.has_pairs:
            self._partners = choose_partners(
                self._batch.is_true,
                similarity,
                negatives=chosen.negatives,
                others=chosen.ranked_texts if chosen.ranking_weight else 0,
                generator=self._generator,
            )
        return losses

    def pair(self, rows: slice, passes: Passes[Seen]) -> dict[str, Tensor]:
        """Return the part's share of VTM, WPA, ranking and MLM."""
        losses: dict[str, Tensor] = {}
        if self._partners is not None:
            losses |= self._asked_about(rows, passes.kept.visual, self._partners)
        if self._masked is not None:
            losses |= self._named_words(rows, passes.kept.visual, self._masked)
        return losses

    def _asked_about(self, rows: slice, visual: Tensor, partners: Partners) -> dict[str, Tensor]:
        chosen, total = self._objectives, len(self._batch)
        texts, labels = partners.texts[rows], partners.is_true[rows].to(self._device)  # 2 x (b, K)
        fused, mask = join_with(self._network, self._batch, texts, visual)
        logits = self._network.match_logits(fused).float().unflatten(0, texts.shape)  # (b, K, 2)
        count = len(texts)
        losses: dict[str, Tensor] = {}
        if chosen.matching_weight:
            asked = logits[:, partners.matched].flatten(0, 1)
            loss = matching_loss(asked, labels[:, partners.matched].flatten())
            losses["matching"] = chosen.matching_weight * share(loss, count, total)
        if chosen.alignment_weight:
            loss = self._align(fused, mask, labels, partners.matched)
            losses["alignment"] = chosen.alignment_weight * share(loss, count, total)
        if chosen.ranking_weight:
            scores = (logits[..., 1] - logits[..., 0])[:, partners.ranked]
            losses["ranking"] = chosen.ranking_weight * share(ranking_loss(scores), count, total)
        return losses

    def _align(self, fused: Fused, mask: Tensor, labels: Tensor, matched: slice) -> Tensor:
        """Return WPA over the pairs of the matching objective, without their special tokens."""
        is_word = mask.clone()
        is_word[:, 0] = False
        last = mask.sum(dim=1, keepdim=True) - 1
        is_word = is_word.scatter(1, last, value=False)
        is_patch = torch.ones(fused.image.shape[:2], dtype=torch.bool, device=mask.device)
        is_patch[:, : self._num_special] = False
        of_pairs = [
            value.unflatten(0, labels.shape)[:, matched].flatten(0, 1)
            for value in (fused.text, fused.image, is_word, is_patch)
        ]
        words, patches, is_word, is_patch = of_pairs
        asked = labels[:, matched].flatten().long()
        return alignment_loss(words, patches, is_word=is_word, is_patch=is_patch, labels=asked)

    def _named_words(self, rows: slice, visual: Tensor, masked: MaskedWords) -> dict[str, Tensor]:
        tokens = trim(masked.tokens[rows]).to(self._device)
        labels = masked.labels[rows, : tokens.ids.shape[1]].to(self._device)
        words = self._network.text_tokens(tokens.ids, tokens.mask)
        features = self._network.join(words, tokens.mask, visual).text
        hidden = labels != IGNORED
        loss = masked_language_loss(self._network.mlm_logits(features[hidden]), labels[hidden])
        total = int((masked.labels != IGNORED).sum())
        return {"masked": self._objectives.masked_weight * share(loss, int(hidden.sum()), total)}
