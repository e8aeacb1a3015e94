"""Say in words what happens in a story: many wordings, and people leave things out."""

import random
import re
from collections.abc import Collection
from dataclasses import dataclass

from model.world.story import SYMMETRIC_EVENTS, Event, Facet, Story, Texture, facts
from model.world.telling import Split, Teller

SHARE_BARE = 0.08  # of training captions that drop articles and fillers, as typed queries do
SHARE_BARE_TERSE = 0.7  # the same, of those that are terse anyway
SHARE_BARE_LOOKS = 0.15  # the same, of those that tell of looks alone
SHARE_KIND = 0.9  # of captions that name the kind for certain
SHARE_STRAY = 0.05  # of training captions with a word that means nothing
SHARE_EVENTLESS = 0.08  # of captions without required facets that name things alone
LOOKS = tuple(facet for facet in Facet if facet not in (Facet.EVENT, Facet.TIME))
FILLERS = frozenset({"a", "an", "the", "there", "is", "are", "that", "of", "in", "which", "clip"})
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Caption:
    """A sentence and the facets that it tells."""

    text: str
    mentions: frozenset[Facet]


def describes(caption: Caption, told_of: Story, other: Story) -> bool:
    """Return whether a caption of one story is true of another one too."""
    ours, theirs = facts(told_of), facts(other)
    return all(ours[facet] == theirs[facet] for facet in caption.mentions)


def caption(
    story: Story,
    rng: random.Random,
    *,
    split: Split = "train",
    required: Collection[Facet] = (),
    detail: float = 0.75,
) -> Caption:
    """Return one sentence about a story.

    Args:
        story: what happens.
        rng: chooses words, template and what is left out.
        split: whose templates.
        required: facets that must be told.
        detail: probability that any other facet is told.
    """
    mentions = _mentions(story, rng, required, detail)
    teller = Teller(story, rng, split, mentions)
    text = _tidy(teller.sentence())
    if split == "train":
        text = _roughened(text, rng, SHARE_BARE_TERSE if teller.manner == "terse" else SHARE_BARE)
    return Caption(text, mentions)


def caption_of_looks(
    story: Story, rng: random.Random, *, required: Collection[Facet], detail: float
) -> Caption:
    """Return a training caption that says nothing of what happens. Arguments as in `caption`."""
    told = {facet for facet in LOOKS if facet in required or rng.random() < detail}
    told |= {Facet.KIND} if rng.random() < SHARE_KIND else set()
    if story.event is Event.MEET:
        told |= {Facet.KIND, Facet.SECOND}
    mentions = frozenset(told - _pointless(story, required))
    teller = Teller(story, rng, "train", mentions)
    return Caption(_roughened(_tidy(teller.sentence()), rng, SHARE_BARE_LOOKS), mentions)


def _mentions(
    story: Story, rng: random.Random, required: Collection[Facet], detail: float
) -> frozenset[Facet]:
    told = {facet for facet in Facet if facet in required or rng.random() < detail}
    told |= {Facet.KIND} if rng.random() < SHARE_KIND else set()
    told |= {Facet.EVENT} if required or rng.random() > SHARE_EVENTLESS else set()
    if story.event is Event.RECOLOUR and Facet.EVENT in told:
        told |= {Facet.COLOUR}
    if story.event in (Event.MORPH, Event.MEET) and Facet.EVENT in told:
        told |= {Facet.KIND}
    if story.event is Event.MEET:
        told |= {Facet.SECOND}
    told -= _pointless(story, required)
    if story.event in SYMMETRIC_EVENTS and story.event is Event.STILL and not required:
        told -= {Facet.EVENT} if rng.random() < 0.4 else set()  # noqa: PLR2004 - a share
    if Facet.EVENT in told:
        told.add(Facet.TIME)
    else:
        told.discard(Facet.TIME)
    return frozenset(told - ({Facet.TIME} if not story.is_reversible else set()))


def _pointless(story: Story, required: Collection[Facet]) -> set[Facet]:
    """Return the facets of which nothing can be said, or nobody says anything."""
    found = {Facet.SECOND} if story.second is None else set()
    found |= {Facet.SIZE} if story.event is Event.GROW else set()
    if story.thing.texture is Texture.PLAIN and Facet.TEXTURE not in required:
        found |= {Facet.TEXTURE}
    return found


def _tidy(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"( ,)+", ",", text).strip(" ,")


def _roughened(text: str, rng: random.Random, share_bare: float) -> str:
    """Write some captions the way people type: terse, or with a word that means nothing."""
    words = text.split()
    if rng.random() < share_bare:
        words = [word for word in words if word not in FILLERS]
    if rng.random() < SHARE_STRAY:
        stray = "".join(rng.choices(LETTERS, k=rng.randint(2, 8)))
        words.insert(rng.randrange(len(words) + 1), stray)
    return " ".join(words)
