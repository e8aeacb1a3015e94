"""Draw stories from a seed, and vary them in one facet."""

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar, assert_never

from model.world.story import (
    MOST_THINGS,
    SYMMETRIC_EVENTS,
    Background,
    Colour,
    Event,
    Facet,
    Kind,
    Look,
    Size,
    Story,
    Texture,
    Thing,
    reverse,
)

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class Level:
    """How rich the stories are: training begins with motion alone.

    Attributes:
        backgrounds: what may be behind.
        most_things: the largest count.
        share_second: share of the stories of one thing in which a second one stands by.
        has_details: sizes and textures vary; else all are large and plain.
        drift: largest camera drift, frame sides.
        noise: largest pixel noise, levels.
    """

    backgrounds: tuple[Background, ...] = tuple(Background)
    most_things: int = MOST_THINGS
    share_second: float = 0.35
    has_details: bool = True
    drift: float = 0.06
    noise: float = 10.0


FULL = Level()
SIMPLE = Level(
    backgrounds=(Background.WHITE, Background.GREY, Background.BLACK),
    most_things=1,
    share_second=0.0,
    has_details=False,
    drift=0.02,
    noise=4.0,
)


def draw_story(
    rng: random.Random, *, level: Level = FULL, events: tuple[Event, ...] = tuple(Event)
) -> Story:
    """Draw one story; equal generators draw equal stories."""
    event = rng.choice(events)
    thing = _draw_thing(rng, level)
    is_alone = event is Event.MEET or rng.random() < 0.6  # noqa: PLR2004 - a share, used once
    count = 1 if is_alone or level.most_things == 1 else rng.randint(2, level.most_things)
    has_second = event is Event.MEET or (count == 1 and rng.random() < level.share_second)
    return Story(
        thing=thing,
        count=count,
        event=event,
        is_backward=rng.random() < 0.5,  # noqa: PLR2004 - a fair coin
        later=_draw_later(rng, thing, event),
        second=_draw_second(rng, thing) if has_second else None,
        background=rng.choice(level.backgrounds),
        look=_draw_look(rng, level),
    )


def vary(story: Story, facet: Facet, rng: random.Random) -> Story | None:
    """Return a story that differs in one facet alone, or None where the facet does not apply."""
    match facet:
        case Facet.TIME:
            return reverse(story) if story.is_reversible else None
        case Facet.EVENT:
            return _with_other_event(story, rng)
        case Facet.KIND | Facet.COLOUR | Facet.SIZE | Facet.TEXTURE:
            return _with_other_thing(story, facet, rng)
        case Facet.COUNT:
            return _with_other_count(story, rng)
        case Facet.SECOND:
            return _with_other_second(story, rng)
        case Facet.BACKGROUND:
            return replace(story, background=_other(rng, Background, story.background))
        case _:
            assert_never(facet)


def _draw_thing(rng: random.Random, level: Level) -> Thing:
    kind, colour = rng.choice(tuple(Kind)), rng.choice(tuple(Colour))
    if not level.has_details:
        return Thing(kind=kind, colour=colour, size=Size.LARGE)
    size = rng.choice(tuple(Size))
    is_plain = size is Size.SMALL or rng.random() < 0.5  # noqa: PLR2004 - a fair coin
    texture = Texture.PLAIN if is_plain else rng.choice((Texture.STRIPED, Texture.DOTTED))
    return Thing(kind=kind, colour=colour, size=size, texture=texture)


def _draw_later(rng: random.Random, thing: Thing, event: Event) -> Thing:
    match event:
        case Event.RECOLOUR:
            return replace(thing, colour=_other(rng, Colour, thing.colour))
        case Event.MORPH:
            return replace(thing, kind=_other(rng, Kind, thing.kind))
        case _:
            return thing


def _draw_second(rng: random.Random, thing: Thing) -> Thing:
    return Thing(kind=_other(rng, Kind, thing.kind), colour=_other(rng, Colour, thing.colour))


def _draw_look(rng: random.Random, level: Level) -> Look:
    return Look(
        lane=rng.uniform(-1, 1),
        offset=rng.uniform(-1, 1),
        corner=rng.randrange(4),
        drift=(rng.uniform(-level.drift, level.drift), rng.uniform(-level.drift, level.drift)),
        noise=rng.uniform(0, level.noise),
        seed=rng.getrandbits(32),
    )


def _other(rng: random.Random, choices: type[Choice], *taken: Choice) -> Choice:
    return rng.choice([choice for choice in choices if choice not in taken])


def _with_other_event(story: Story, rng: random.Random) -> Story | None:
    if story.event in (Event.MEET, Event.RECOLOUR, Event.MORPH):
        return None  # they need a second thing, or something to become
    choices = (*SYMMETRIC_EVENTS, Event.SLIDE, Event.RISE, Event.GROW, Event.APPEAR)
    return replace(story, event=rng.choice([event for event in choices if event != story.event]))


def _with_other_thing(story: Story, facet: Facet, rng: random.Random) -> Story | None:
    thing, later = story.thing, story.later
    match facet:
        case Facet.KIND:
            kind = _other(rng, Kind, thing.kind, later.kind)
            thing = replace(thing, kind=kind)
            later = later if story.event is Event.MORPH else replace(later, kind=kind)
        case Facet.COLOUR:
            colour = _other(rng, Colour, thing.colour, later.colour)
            thing = replace(thing, colour=colour)
            later = later if story.event is Event.RECOLOUR else replace(later, colour=colour)
        case Facet.SIZE if story.event is not Event.GROW and thing.texture is Texture.PLAIN:
            size = _other(rng, Size, thing.size)
            thing, later = replace(thing, size=size), replace(later, size=size)
        case Facet.TEXTURE if thing.size is Size.LARGE:
            texture = _other(rng, Texture, thing.texture)
            thing, later = replace(thing, texture=texture), replace(later, texture=texture)
        case _:
            return None  # surfaces of small things cannot be made out
    return replace(story, thing=thing, later=later)


def _with_other_count(story: Story, rng: random.Random) -> Story | None:
    if story.second is not None:
        return None
    counts = [count for count in range(1, MOST_THINGS + 1) if count != story.count]
    return replace(story, count=rng.choice(counts))


def _with_other_second(story: Story, rng: random.Random) -> Story | None:
    if story.second is None:
        return None
    if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        kind = _other(rng, Kind, story.second.kind, story.thing.kind)
        return replace(story, second=replace(story.second, kind=kind))
    colour = _other(rng, Colour, story.second.colour, story.thing.colour)
    return replace(story, second=replace(story.second, colour=colour))
