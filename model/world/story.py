"""What happens in a procedural video, as plain values."""

from dataclasses import dataclass, replace
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of things that move about."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    RING = "ring"
    CROSS = "cross"
    DIAMOND = "diamond"
    HEART = "heart"


class Colour(StrEnum):
    """The colours of things."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    TURQUOISE = "turquoise"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"


class Size(StrEnum):
    """How big a thing is."""

    SMALL = "small"
    LARGE = "large"


class Texture(StrEnum):
    """What a thing's surface looks like."""

    PLAIN = "plain"
    STRIPED = "striped"
    DOTTED = "dotted"


class Background(StrEnum):
    """What is behind the things."""

    WHITE = "white"
    GREY = "grey"
    BLACK = "black"
    BROWN = "brown"
    GRADIENT = "gradient"
    CHECKER = "checker"
    NOISE = "noise"
    STRIPES = "stripes"


class Event(StrEnum):
    """What happens, named for the forward direction of time."""

    SLIDE = "slide"  # left to right; backward: right to left
    RISE = "rise"  # backward: falls
    GROW = "grow"  # backward: shrinks
    APPEAR = "appear"  # backward: vanishes
    RECOLOUR = "recolour"  # first one colour, then another
    MORPH = "morph"  # first one kind, then another
    MEET = "meet"  # two things come together; backward: part
    STILL = "still"
    BOUNCE = "bounce"  # up and down again: the same backward
    SWAY = "sway"  # to the right and back again: the same backward


SYMMETRIC_EVENTS = (Event.STILL, Event.BOUNCE, Event.SWAY)
REVERSIBLE_EVENTS = tuple(event for event in Event if event not in SYMMETRIC_EVENTS)
MOST_THINGS = 4


class Facet(StrEnum):
    """The things that two stories can differ in."""

    TIME = "time"
    EVENT = "event"
    KIND = "kind"
    COLOUR = "colour"
    COUNT = "count"
    SIZE = "size"
    TEXTURE = "texture"
    SECOND = "second"
    BACKGROUND = "background"


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One kind of thing; a story may show several alike."""

    kind: Kind
    colour: Colour
    size: Size = Size.SMALL
    texture: Texture = Texture.PLAIN


@dataclass(frozen=True, kw_only=True)
class Look:
    """What no caption tells: where things are, how the camera drifts, how noisy pixels are.

    Attributes:
        lane: where the path lies across its direction, in [-1, 1].
        offset: where the path lies along its direction, in [-1, 1].
        corner: which corner the second thing stands in, 0 to 3.
        drift: how far the camera moves during the video, in frame sides (right, down).
        noise: standard deviation of the pixel noise, in levels of 255.
        seed: draws the noise, the shade of colours and the phase of patterns.
    """

    lane: float
    offset: float
    corner: int
    drift: tuple[float, float]
    noise: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everything that is needed to render a video at any size and to caption it.

    Attributes:
        thing: what acts.
        count: how many of it.
        event: what it does, in the forward direction.
        is_backward: the video runs backward.
        later: what the thing has become at the end (RECOLOUR, MORPH), else as `thing`.
        second: another thing that stands by, or the partner of MEET.
        background: what is behind.
        look: what no caption tells.
    """

    thing: Thing
    count: int
    event: Event
    is_backward: bool
    later: Thing
    second: Thing | None
    background: Background
    look: Look

    @property
    def is_reversible(self) -> bool:
        """Whether the reversed video tells another story."""
        return self.event in REVERSIBLE_EVENTS


def reverse(story: Story) -> Story:
    """Return the story whose frames are the same in reverse order."""
    return replace(story, is_backward=not story.is_backward)


def facts(story: Story) -> dict[Facet, object]:
    """Return what is true of a story, by facet, as far as a viewer can tell; None: nothing is."""
    has_size = story.event is not Event.GROW
    second = (story.second.kind, story.second.colour) if story.second else None
    return {
        Facet.TIME: story.is_backward if story.is_reversible else None,
        Facet.EVENT: (story.event, _outcome(story)),
        Facet.KIND: story.thing.kind,
        Facet.COLOUR: story.thing.colour,
        Facet.COUNT: story.count,
        Facet.SIZE: story.thing.size if has_size else None,
        Facet.TEXTURE: story.thing.texture,
        Facet.SECOND: second,
        Facet.BACKGROUND: story.background,
    }


def _outcome(story: Story) -> Kind | Colour | None:
    match story.event:
        case Event.RECOLOUR:
            return story.later.colour
        case Event.MORPH:
            return story.later.kind
        case _:
            return None
