"""Where everything stands at any time of a story, in frame sides from the top left corner."""

from dataclasses import dataclass

from model.world.story import Event, Size, Story, Thing

RADII = {Size.SMALL: 0.11, Size.LARGE: 0.19}  # of a thing on its own
CROWDED = 0.66  # several things are that much smaller
CROWD = 3  # from here on they are smaller still
SECOND_RADIUS = 0.12
GROWN = (0.06, 0.31)  # radius at the start and at the end of GROW
PATH = (0.13, 0.87)  # where SLIDE starts and ends
MEETING = ((0.12, 0.36), (0.88, 0.64))  # where the two of MEET start and end
TURN = (0.42, 0.58)  # when things change, appear or vanish
SPACING = 0.3  # between neighbours in a row, frame sides


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing as it stands at one time.

    Attributes:
        thing: what it is.
        x: centre, frame sides to the right.
        y: centre, frame sides down.
        radius: frame sides.
        opacity: 0 where it is not there, 1 where it is.
        changed: how much of it has become the story's `later`, 0 to 1.
    """

    thing: Thing
    x: float
    y: float
    radius: float
    opacity: float = 1.0
    changed: float = 0.0


def figures(story: Story, time: float) -> list[Figure]:
    """Return what is in the picture, back to front, before the camera drifts.

    Args:
        story: what happens.
        time: 0 at the start of the video, 1 at its end.
    """
    forward = 1 - time if story.is_backward else time
    second = _bystander(story)
    return [*([second] if second else []), *_actors(story, forward)]


def _actors(story: Story, time: float) -> list[Figure]:
    turned = min(max((time - TURN[0]) / (TURN[1] - TURN[0]), 0.0), 1.0)
    opacity = turned if story.event is Event.APPEAR else 1.0
    changed = turned if story.event in (Event.RECOLOUR, Event.MORPH) else 0.0
    radius = _radius(story, time)
    actors = [
        Figure(thing=story.thing, x=x, y=y, radius=radius, opacity=opacity, changed=changed)
        for x, y in _places(story, time)
    ]
    if story.event is Event.MEET and story.second is not None:
        x, y = _meeting_place(story, time, is_partner=True)
        actors.append(Figure(thing=story.second, x=x, y=y, radius=radius))
    return actors


def _radius(story: Story, time: float) -> float:
    crowded = 1.0 if story.count == 1 else CROWDED if story.count < CROWD else CROWDED * 0.85
    if story.event is Event.GROW:
        return (GROWN[0] + (GROWN[1] - GROWN[0]) * time) * (1.0 if story.count == 1 else 0.62)
    if story.event is Event.MEET:
        return RADII[story.thing.size] * 0.8
    return RADII[story.thing.size] * crowded


def _places(story: Story, time: float) -> list[tuple[float, float]]:
    path = PATH[0] + (PATH[1] - PATH[0]) * time
    swing = PATH[0] + (PATH[1] - PATH[0]) * (1 - abs(2 * time - 1))  # there and back again
    match story.event:
        case Event.SLIDE | Event.SWAY:
            x = path if story.event is Event.SLIDE else swing
            return [(x, y) for y in _row(story, _lane(story))]
        case Event.RISE | Event.BOUNCE:
            y = 1 - (path if story.event is Event.RISE else swing)
            return [(x, y) for x in _row(story, _lane(story))]
        case Event.MEET:
            return [_meeting_place(story, time, is_partner=False)]
        case _:
            return _group(story)


def _lane(story: Story) -> float:
    """Keep off the second thing: it stands in a corner, so the lane is on the other side."""
    lane = story.look.lane
    if story.count > 1:
        return 0.5 + 0.03 * lane
    if story.second is None:
        return 0.5 + 0.26 * lane
    is_far = story.look.corner < 2 if _is_lying(story) else story.look.corner % 2 == 0  # noqa: PLR2004
    return (0.66 if is_far else 0.34) + 0.1 * lane


def _is_lying(story: Story) -> bool:
    return story.event in (Event.SLIDE, Event.SWAY)


def _row(story: Story, middle: float) -> list[float]:
    spacing = SPACING if story.count < MOST_IN_A_WIDE_ROW else 0.24
    first = middle - spacing * (story.count - 1) / 2
    return [first + spacing * i for i in range(story.count)]


MOST_IN_A_WIDE_ROW = 4


def _group(story: Story) -> list[tuple[float, float]]:
    x, y = 0.5 + 0.06 * story.look.lane, 0.5 + 0.06 * story.look.offset
    gap = 0.22
    match story.count:
        case 1:
            return [_free_place(story)]
        case 2:
            return [(x - gap, y), (x + gap, y)]
        case 3:
            return [(x - gap, y + gap), (x + gap, y + gap), (x, y - gap)]
        case _:
            return [(x + i * gap, y + j * gap) for i in (-1, 1) for j in (-1, 1)]


def _free_place(story: Story) -> tuple[float, float]:
    reach = 0.1 if story.event is Event.GROW else 0.22
    x, y = 0.5 + reach * story.look.lane, 0.5 + reach * story.look.offset
    if story.second is None:
        return x, y
    right = 1 if story.look.corner % 2 == 0 else -1
    down = 1 if story.look.corner < 2 else -1  # noqa: PLR2004 - corners 0 and 1 are at the top
    return 0.5 + 0.12 * right + 0.06 * story.look.lane, 0.5 + 0.12 * down + 0.06 * story.look.offset


def _meeting_place(story: Story, time: float, *, is_partner: bool) -> tuple[float, float]:
    is_right = is_partner != (story.look.offset > 0)
    start, end = MEETING[is_right]
    return start + (end - start) * time, 0.5 + 0.26 * story.look.lane


def _bystander(story: Story) -> Figure | None:
    if story.second is None or story.event is Event.MEET:
        return None
    right, down = story.look.corner % 2, story.look.corner // 2
    return Figure(
        thing=story.second, x=0.16 + 0.68 * right, y=0.16 + 0.68 * down, radius=SECOND_RADIUS
    )
