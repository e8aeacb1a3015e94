"""The recipe of the bundled checkpoint: the dual stream learns by naming, the fused pass by rivals.

It needs data whose facts are known, `model/world`. Shapes: B rows of a batch, R rivals of which the
fused pass tells one from the other, E joint space, C width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model.all_in_one.network import AllInOne
from model.data import Batch, trim
from model.masking import WordMasker
from model.objectives.checking import Checker
from model.objectives.contrastive import contrastive_loss, group_contrastive_loss
from model.objectives.masked_language import IGNORED, masked_language_loss
from model.objectives.matching import matching_loss
from model.objectives.naming import Namer
from model.objectives.ranking import ranking_loss
from model.recipes.recipe import Passes
from model.recipes.world_objectives import WorldObjectives
from model.rivals import choose_rivals


class WorldRecipe:
    """Naming, contrast within families, and rivals.

    Args:
        network: trained in place.
        namer: names the facts of clips and texts; trained beside the network.
        checker: says which facts of a pair are told rightly; trained beside the network.
        masker: hides words for the masked-language objective.
        objectives: what is learned; may be replaced between steps.
    """

    def __init__(
        self,
        *,
        network: AllInOne,
        namer: Namer,
        checker: Checker,
        masker: WordMasker,
        objectives: WorldObjectives,
    ) -> None:
        self.network = network
        self.namer = namer
        self.checker = checker
        self.masker = masker
        self.objectives = objectives
        self.parts = nn.ModuleDict({"network": network, "namer": namer, "checker": checker})

    def start(self, batch: Batch, step: int, generator: torch.Generator) -> "WorldWork":
        """Begin a step.

        Raises:
            ValueError: the clips are spread over processes: rivals may be any two of the batch.
        """
        if len(batch.clips) != len(batch):
            raise ValueError("this recipe needs all clips of a batch in one process")
        return WorldWork(self, batch, step, generator)


class WorldWork:
    """One step of the recipe. It cannot be cut into parts: rivals may be any two of the batch."""

    def __init__(
        self, recipe: WorldRecipe, batch: Batch, step: int, generator: torch.Generator
    ) -> None:
        self._recipe = recipe
        self._objectives = recipe.objectives
        self._network = recipe.network
        self._batch = batch
        self._generator = generator
        self._device = next(recipe.network.parameters()).device
        self._is_half = False
        recipe.masker.generator = generator
        chosen = recipe.objectives
        self._has_fused = chosen.rivals > 0 and step >= chosen.fused_from
        self._has_dual = step % chosen.contrast_every == 0 or not self._has_fused

    def embed(self, rows: slice) -> Passes[None]:
        """Send the whole batch through the dual stream.

        Raises:
            ValueError: these are not all rows.
        """
        if rows != self._batch.own_rows:
            raise ValueError("this recipe cannot send a batch through the network in parts")
        self._is_half = torch.is_autocast_enabled(self._device.type)
        with_gradients = self._has_dual and torch.is_grad_enabled()
        # A weight that autocast copies while gradients are off would stay without one: no cache.
        was_cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(self._has_dual)
        try:
            with torch.set_grad_enabled(with_gradients):
                frames = self._batch.frames_of(rows, self._device)
                tokens = self._batch.tokens.to(self._device)
                videos = self._network.embed_video(frames).float()  # (B, E)
                texts = self._network.embed_text(tokens.ids, tokens.mask).float()  # (B, E)
        finally:
            torch.set_autocast_cache_enabled(was_cached)
        return Passes({"videos": videos, "texts": texts}, None)

    def contrast(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of the dual stream; none in steps in which it rests."""
        if not self._has_dual:
            return {}
        chosen, batch, namer = self._objectives, self._batch, self._recipe.namer
        # Copies: autocast would share one low-precision version of a leaf, and its gradient.
        texts, videos = embeddings["texts"].clone(), embeddings["videos"].clone()
        groups = batch.groups.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_half):
            contrast = contrastive_loss(texts, videos, temperature=chosen.temperature)
            group = group_contrastive_loss(texts, videos, groups, temperature=chosen.temperature)
            return {
                "named_clips": chosen.naming_weight
                * namer(videos, batch.clip_facts.to(self._device)),
                "named_texts": chosen.naming_weight
                * namer(texts, batch.text_facts.to(self._device)),
                "contrast": chosen.contrast_weight * contrast,
                "group": chosen.group_weight * group,
            }

    def pair(self, rows: slice, passes: Passes[None]) -> dict[str, Tensor]:  # noqa: ARG002 (all)
        """Return the losses of the fused pass; none before its first step."""
        if not self._has_fused:
            return {}
        batch, device = self._batch, self._device
        similarity = (passes.embeddings["texts"] @ passes.embeddings["videos"].T).detach()
        rivals = choose_rivals(batch, similarity.cpu(), self._objectives, self._generator)
        chosen = torch.cat(rivals)  # (2 R,): rows, then their rivals
        visual = self._network.visual_tokens(batch.frames_of(chosen, device))  # (2 R, T, P, C)
        return self._told_apart(chosen, visual) | self._named_words(chosen, visual)

    def _told_apart(self, rows: Tensor, visual: Tensor) -> dict[str, Tensor]:
        """Return the losses of matching each text with its clip and with its rival's."""
        batch, device, chosen = self._batch, self._device, self._objectives
        tokens = trim(batch.tokens[rows]).to(device)
        swapped = torch.arange(len(rows)).roll(len(rows) // 2)  # each row's rival
        columns = torch.cat((torch.arange(len(rows)), swapped))  # clips of the true, then the false
        pooled = self._network.pool(
            tokens.ids.repeat(2, 1), tokens.mask.repeat(2, 1), visual[columns.to(device)]
        )  # (4 R, C)
        logits = self._network.itm_score(pooled).float()  # (4 R, 2)
        labels = torch.arange(len(columns), device=device) < len(rows)
        true, false = (logits[:, 1] - logits[:, 0]).chunk(2)  # 2 x (2 R,), by text
        losses = {
            "matching": matching_loss(logits, labels),
            "ranking": (
                ranking_loss(torch.stack((true, false), dim=1))
                + ranking_loss(torch.stack((true, false[swapped.to(device)]), dim=1))
            )
            / 2,
            "right": (true > false).float().mean(),
        }
        if chosen.checking_weight:
            told = batch.text_facts[rows].repeat(2, 1).to(device)
            shown = batch.clip_facts[rows][columns].to(device)
            losses["checked"] = chosen.checking_weight * self._recipe.checker(pooled, told, shown)
        return losses

    def _named_words(self, rows: Tensor, visual: Tensor) -> dict[str, Tensor]:
        chosen = self._objectives
        if not chosen.masked_texts:
            return {}
        first = slice(0, chosen.masked_texts)
        masked = self._recipe.masker(trim(self._batch.tokens[rows[first]]))
        hidden = (masked.labels != IGNORED).to(self._device)
        tokens, labels = masked.tokens.to(self._device), masked.labels.to(self._device)
        features = self._network.fuse(tokens.ids, tokens.mask, visual[first]).text
        logits = self._network.mlm_logits(features[hidden])
        return {"masked": chosen.masked_weight * masked_language_loss(logits, labels[hidden])}
