"""The facts of a story as class numbers: what training names beside finding and matching.

Contrast alone has to invent what matters in a clip and in a sentence at the same time. Naming tells
both the same things, with one linear layer for the two, so that they agree from early on.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from model.objectives.naming import UNKNOWN
from model.world.captions import Caption
from model.world.story import (
    MOST_THINGS,
    REVERSIBLE_EVENTS,
    SYMMETRIC_EVENTS,
    Background,
    Colour,
    Event,
    Facet,
    Kind,
    Size,
    Story,
    Texture,
    facts,
)

HAPPENINGS = (
    *((event, is_backward) for event in REVERSIBLE_EVENTS for is_backward in (False, True)),
    *((event, False) for event in SYMMETRIC_EVENTS),
)
COLUMNS: tuple[tuple[Facet, int], ...] = (  # what a column tells, and its number of classes
    (Facet.EVENT, len(HAPPENINGS)),
    (Facet.COLOUR, len(Colour)),
    (Facet.KIND, len(Kind)),
    (Facet.EVENT, len(Colour)),  # the colour at the end
    (Facet.EVENT, len(Kind)),  # the kind at the end
    (Facet.COUNT, MOST_THINGS),
    (Facet.SIZE, len(Size)),
    (Facet.TEXTURE, len(Texture)),
    (Facet.BACKGROUND, len(Background)),
    (Facet.SECOND, len(Colour)),
    (Facet.SECOND, len(Kind)),
)
WEIGHTS = (1.0, *[0.15] * (len(COLUMNS) - 1))
"""What happens is the hardest to see, so it counts most."""
NUM_CLASSES = tuple(classes for _, classes in COLUMNS)


def labels_of(story: Story) -> NDArray[np.int64]:
    """Return the class of every column, or -100 where it does not apply."""
    is_backward = story.is_backward and story.is_reversible
    first, last = (story.later, story.thing) if is_backward else (story.thing, story.later)
    is_change = story.event in (Event.RECOLOUR, Event.MORPH)
    happening = (story.event, is_backward and not is_change)  # the ends tell the order of a change
    return np.array(
        [
            HAPPENINGS.index(happening),
            _index(Colour, first.colour),
            _index(Kind, first.kind),
            _index(Colour, last.colour) if story.event is Event.RECOLOUR else UNKNOWN,
            _index(Kind, last.kind) if story.event is Event.MORPH else UNKNOWN,
            story.count - 1,
            UNKNOWN if facts(story)[Facet.SIZE] is None else _index(Size, story.thing.size),
            _index(Texture, story.thing.texture),
            _index(Background, story.background),
            _index(Colour, story.second.colour) if story.second else UNKNOWN,
            _index(Kind, story.second.kind) if story.second else UNKNOWN,
        ],
        np.int64,
    )


def labels_told(caption: Caption, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels that a caption tells, -100 for the others."""
    is_told = [facet in caption.mentions for facet, _ in COLUMNS]
    return np.where(is_told, labels, UNKNOWN)


def _index(choices: type[StrEnum], value: StrEnum) -> int:
    return list(choices).index(value)
