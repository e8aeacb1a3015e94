"""Stills: single frames of unrelated stories, to learn what things look like.

The four frames of a clip, and the clips of a family, mostly show the same things, so a batch of
clips teaches few kinds of things; the same number of frames from stories of their own teaches
many. Shapes: B stills, b clips of T stills each, N of the stills with two texts, F facts, S frame
side.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.data import Batch, RawBatch, trim
from model.objectives.matching import matching_loss
from model.objectives.naming import UNKNOWN, Namer
from model.objectives.ranking import ranking_loss
from model.recipes.recipe import Passes, Work
from model.recipes.world import WorldRecipe
from model.world.batches import FACETS, WorldBatches
from model.world.captions import Caption, caption_of_looks
from model.world.drawing import FULL, SIMPLE, draw_story, vary
from model.world.labels import COLUMNS, NUM_CLASSES, labels_of, labels_told
from model.world.render import render
from model.world.story import Event, Facet, Story

EVENTS = (Event.SLIDE, Event.RISE, Event.GROW, Event.MEET, Event.STILL, Event.BOUNCE, Event.SWAY)
"""In these a thing looks the same, and is there, all the time."""
TIMES = (0.05, 0.95)
IS_VISIBLE = np.array([facet is not Facet.EVENT for facet, _ in COLUMNS])
VISIBLE = tuple(facet for facet in FACETS if facet is not Facet.EVENT)
WEIGHTS = (0.0, 0.5, 2.0, 0.0, 0.0, 0.8, 0.3, 1.0, 0.2, 0.5, 2.0)
"""Of the facts (`labels.COLUMNS`): kinds are the hardest to see."""


@dataclass(frozen=True)
class Looks:
    """A story as a single frame shows it, with a caption and with one of a counterpart."""

    story: Story
    own: Caption
    other_story: Story
    other: Caption


@dataclass(frozen=True, kw_only=True)
class StillBatches:
    """Makes the stills of any step; equal numbers give equal batches.

    Attributes:
        seed: draws the stories.
        frame_size: S, pixels.
        stills: B, a multiple of T.
        asked: N of them that the fused pass is asked about.
        share_simple: of the stories that are simple.
    """

    seed: int
    frame_size: int
    stills: int = 144
    asked: int = 64
    share_simple: float = 0.15

    def __call__(self, step: int) -> RawBatch:
        """Return stills as clips of one frame, B rows, then the texts of N counterparts.

        Row B + i is the counterpart of row i; it has no clip.
        """
        rng = random.Random(f"stills/{self.seed}/{step}")  # noqa: S311 - reproducible, no secrets
        drawn = [self._draw(rng) for _ in range(self.stills)]
        asked = drawn[: self.asked]
        captions = [looks.own for looks in drawn] + [looks.other for looks in asked]
        stories = [looks.story for looks in drawn] + [looks.other_story for looks in asked]
        facts = [labels_seen(story) for story in stories]
        told = [labels_told(c, labels) for c, labels in zip(captions, facts, strict=True)]
        return RawBatch(
            clips=np.stack([self._render(looks.story, rng) for looks in drawn]),
            texts=[caption.text for caption in captions],
            groups=np.concatenate([np.arange(self.stills), np.arange(self.asked)]),
            is_true=np.eye(len(captions), dtype=bool),
            clip_facts=np.stack(facts),
            text_facts=np.stack(told),
        )

    def _draw(self, rng: random.Random) -> Looks:
        while True:
            level = SIMPLE if rng.random() < self.share_simple else FULL
            story = draw_story(rng, level=level, events=EVENTS)
            facet = rng.choice(VISIBLE)
            other = vary(story, facet, rng)
            if other is not None:
                detail = rng.random()
                own_caption, other_caption = (
                    caption_of_looks(told, rng, required=[facet], detail=detail)
                    for told in (story, other)
                )
                return Looks(story, own_caption, other, other_caption)

    def _render(self, story: Story, rng: random.Random) -> NDArray[np.uint8]:
        return render(story, [rng.uniform(*TIMES)], self.frame_size)


@dataclass(frozen=True, kw_only=True)
class MixedBatches:
    """Clips every so many steps, stills in between.

    Attributes:
        clips: batches of clips with captions.
        stills: batches of stills.
        clips_every: 1: clips alone.
    """

    clips: WorldBatches
    stills: StillBatches
    clips_every: int

    def __call__(self, step: int) -> RawBatch:
        """Return the batch of a step."""
        return self.clips(step) if step % self.clips_every == 0 else self.stills(step)


def labels_seen(story: Story) -> NDArray[np.int64]:
    """Return the labels that a single frame shows, -100 for what happens."""
    return np.where(IS_VISIBLE, labels_of(story), UNKNOWN)


class StillRecipe:
    """The recipe of the bundled checkpoint, with batches of stills among those of clips.

    Args:
        clips: the recipe for batches of clips; stills train its network and its namer.
    """

    def __init__(self, clips: WorldRecipe) -> None:
        self.clips = clips
        self.network: nn.Module = clips.network
        self.parts = clips.parts

    def start(self, batch: Batch, step: int, generator: torch.Generator) -> Work:
        """Begin a step."""
        is_of_stills = batch.clips.shape[1] == 1
        return StillWork(self, batch) if is_of_stills else self.clips.start(batch, step, generator)

    def name_stills(self, embeddings: Tensor, facts: Tensor) -> Tensor:
        """Return the loss of naming stills by the layer that names clips, a scalar."""
        namer = Namer(width=embeddings.shape[1], num_classes=NUM_CLASSES, weights=WEIGHTS)
        namer.score = self.clips.namer.score
        loss: Tensor = namer(embeddings, facts)
        return loss


class StillWork:
    """One step of naming what stills show, and of telling texts about them apart.

    For the temporal embedding, T stills are taken for one clip: all its rows are met that way.
    """

    def __init__(self, recipe: StillRecipe, batch: Batch) -> None:
        self._recipe = recipe
        self._network = recipe.clips.network
        self._frames_per_clip = self._network.transformer.temporal_embed.shape[1]
        self._device = next(recipe.network.parameters()).device
        self._batch = batch

    def embed(self, rows: slice) -> Passes[Tensor]:
        """Embed every still by itself.

        Raises:
            ValueError: these are not all stills.
        """
        if rows != self._batch.own_rows:
            raise ValueError("this recipe cannot send a batch through the network in parts")
        stills = self._batch.frames_of(rows, self._device)  # (B, 1, 3, S, S)
        clips = stills.unflatten(0, (-1, self._frames_per_clip))[:, :, 0]  # (b, T, 3, S, S)
        visual = self._network.visual_tokens(clips).flatten(0, 1)[:, None]  # (B, 1, P, C)
        return Passes({"stills": self._network.embed_visual(visual).float()}, visual)

    def contrast(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of naming."""
        shown = self._batch.clip_facts[self._batch.own_rows].to(self._device)
        return {"stills": self._recipe.name_stills(embeddings["stills"], shown)}

    def pair(self, rows: slice, passes: Passes[Tensor]) -> dict[str, Tensor]:
        """Return the losses of matching stills with their texts and with their counterparts'."""
        count = len(self._batch) - rows.stop
        if not count:
            return {}
        asked = torch.cat((torch.arange(count), torch.arange(rows.stop, len(self._batch))))
        tokens = trim(self._batch.tokens[asked]).to(self._device)
        visual = passes.kept[:count].repeat(2, 1, 1, 1)  # (2 N, 1, P, C)
        pooled = self._network.pool(tokens.ids, tokens.mask, visual)  # (2 N, C)
        logits = self._network.itm_score(pooled).float()  # (2 N, 2)
        labels = torch.arange(2 * count, device=self._device) < count
        true, false = (logits[:, 1] - logits[:, 0]).chunk(2)  # 2 x (N,)
        clips = self._recipe.clips
        told = self._batch.text_facts[asked].to(self._device)
        shown = self._batch.clip_facts[:count].repeat(2, 1).to(self._device)
        return {
            "matching": matching_loss(logits, labels),
            "ranking": ranking_loss(torch.stack((true, false), dim=1)),
            "checked": clips.objectives.checking_weight * clips.checker(pooled, told, shown),
            "right": (true > false).float().mean(),
        }
