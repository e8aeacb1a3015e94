"""Training batches of the procedural world: families, richer as training goes on."""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data import RawBatch
from model.world.drawing import FULL, SIMPLE
from model.world.families import FAMILY_SIZE, Member, family
from model.world.labels import labels_of, labels_told
from model.world.render import bin_centres, render
from model.world.story import REVERSIBLE_EVENTS, SYMMETRIC_EVENTS, Event, Facet, facts

FACETS = (
    *(Facet.KIND,) * 4,
    *(Facet.EVENT,) * 3,
    *(Facet.SECOND,) * 3,
    *(Facet.COUNT,) * 3,
    *(Facet.TEXTURE,) * 3,
    *(Facet.COLOUR,) * 2,
    *(Facet.SIZE,) * 2,
    Facet.BACKGROUND,
)
"""What is hard to see is asked for more often."""
EVENTS = (*REVERSIBLE_EVENTS, Event.MORPH, Event.MEET)
"""In the last two, two kinds have to be seen in one video."""


@dataclass(frozen=True, kw_only=True)
class WorldBatches:
    """Makes the batch of any step; equal numbers give equal batches.

    Attributes:
        seed: draws the stories.
        frame_size: frame side S, pixels.
        frames_per_clip: T.
        families: per batch, of four videos each.
        simple_until: before this step all stories are simple: motion is learned first.
        full_from: from this step on all stories are full; in between both are mixed.
        terse_from: from this step on captions may leave out everything that is not needed.
        share_symmetric: of the families whose first video runs the same backward, so that there
            is no twin.
        facets: what the members of a family differ in beside the order of time, the likelier the
            more often named.
    """

    seed: int
    frame_size: int
    frames_per_clip: int
    families: int = 16
    simple_until: int = 400
    full_from: int = 1200
    terse_from: int = 0
    share_symmetric: float = 0.2
    facets: tuple[Facet, ...] = FACETS

    def __call__(self, step: int) -> RawBatch:
        """Return the batch of a step."""
        times = bin_centres(self.frames_per_clip)
        members = [
            member for number in range(self.families) for member in self._family(step, number)
        ]
        labels = [labels_of(member.story) for member in members]
        told = [labels_told(m.caption, label) for m, label in zip(members, labels, strict=True)]
        return RawBatch(
            clips=np.stack([render(m.story, times, self.frame_size) for m in members]),
            texts=[member.caption.text for member in members],
            groups=np.arange(len(members)) // FAMILY_SIZE,
            is_true=truths(members),
            clip_facts=np.stack(labels),
            text_facts=np.stack(told),
        )

    def _family(self, step: int, number: int) -> list[Member]:
        seed = f"{self.seed}/{step}/{number}"
        richness = (step - self.simple_until) / max(1, self.full_from - self.simple_until)
        rng = random.Random(seed)  # noqa: S311 - reproducible, no secrets
        level = FULL if rng.random() < richness else SIMPLE
        is_symmetric = level is FULL and rng.random() < self.share_symmetric
        return family(
            seed,
            level=level,
            least_detail=0.0 if step >= self.terse_from else 0.3,
            facets=self.facets,
            events=SYMMETRIC_EVENTS if is_symmetric else EVENTS,
        )


def truths(members: list[Member]) -> NDArray[np.bool_]:
    """Return whether text i is true of video j, bool (B, B)."""
    known = [facts(member.story) for member in members]
    return np.array(
        [
            [all(ours[facet] == theirs[facet] for facet in mentions) for theirs in known]
            for ours, mentions in zip(known, (m.caption.mentions for m in members), strict=True)
        ]
    )
