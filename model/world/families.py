"""Families: a video with counterparts that differ from it in exactly one thing.

Random videos hardly ever differ in the order of events alone, so nothing in a random batch or
gallery asks for it. In a family, the second member is the first one run backward.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from model.world.captions import Caption, caption
from model.world.drawing import FULL, Level, draw_story, vary
from model.world.story import REVERSIBLE_EVENTS, Event, Facet, Story, reverse
from model.world.telling import Split

FAMILY_SIZE = 4
MOST_TRIES = 64
STREAMS = {"train": "train", "test": "test"}  # seeds of the two splits never meet
EVALUATION_DETAIL = 0.9


@dataclass(frozen=True)
class Member:
    """One video of a family: what happens, one caption, and how it differs from the first."""

    story: Story
    caption: Caption
    differs_in: Facet | None


def family(
    seed: int | str,
    size: int = FAMILY_SIZE,
    *,
    split: Split = "train",
    level: Level = FULL,
    detail: float | None = None,
    least_detail: float = 0.0,
    facets: tuple[Facet, ...] = tuple(Facet),
    events: tuple[Event, ...] = REVERSIBLE_EVENTS,
) -> list[Member]:
    """Return a video, its reversed twin if it has one, and others that differ in one facet.

    Args:
        seed: equal seeds give equal families, in each split its own.
        size: how many members, at least 2.
        split: whose caption templates.
        level: how rich the stories are.
        detail: share of the optional facets that captions tell; None draws it per family,
        least_detail: from this share on.
        facets: what the members after the twin may differ in, the likelier the more often named.
        events: what may happen in the first.

    Raises:
        ValueError: `size` is less than 2.
    """
    if size < 2:  # noqa: PLR2004 - a video and its twin
        raise ValueError(f"a family has at least 2 members, not {size}")
    rng = random.Random(f"{split}/{seed}")  # noqa: S311 - reproducible worlds, no secrets
    first = draw_story(rng, level=level, events=events)
    stories: list[tuple[Story, Facet | None]] = [(first, None)]
    stories += [(reverse(first), Facet.TIME)] if first.is_reversible else []
    stories += _counterparts(first, rng, size - len(stories), facets)
    varied = {facet for _, facet in stories if facet} | {Facet.EVENT}
    detail = rng.uniform(least_detail, 1.0) if detail is None else detail
    return [
        Member(story, caption(story, rng, split=split, required=varied, detail=detail), facet)
        for story, facet in stories
    ]


def gallery(num_videos: int, seed: int, *, size: int = FAMILY_SIZE) -> list[Member]:
    """Return held-out videos in families, with the test split's captions."""
    members: list[Member] = []
    for number in range(-(-num_videos // size)):
        members += family(f"{seed}/{number}", size, split="test", detail=EVALUATION_DETAIL)
    return members[:num_videos]


def _counterparts(
    first: Story, rng: random.Random, count: int, facets: tuple[Facet, ...]
) -> Iterator[tuple[Story, Facet]]:
    found: list[Story] = []
    others = [facet for facet in facets if facet is not Facet.TIME]
    for _ in range(MOST_TRIES):
        if len(found) == count:
            return
        facet = rng.choice(others)
        story = vary(first, facet, rng)
        if story is not None and story not in found:
            found.append(story)
            yield story, facet
    raise RuntimeError(f"no {count} counterparts found for {first}")
