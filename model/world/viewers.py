"""How viewers put it: more wordings of training captions, beside the templates of `wording`.

Verbs are crossed with ways, and what the test split says is left out: a test asks for wordings
that training never saw, though for no word that it never saw.
"""

from model.world.story import Background, Colour, Event, Kind, Size, Texture
from model.world.wording import BECOMING, BECOMING_UNSAID, EVENT_PHRASES, mirrored


def _cross(verbs: str, *ways: str) -> tuple[str, ...]:
    """Return every verb with every way."""
    return tuple(f"{{{verb}}} {way}" for verb in verbs.split() for way in ways)


_RIGHTWARD = _cross(
    "move travel glide drift slide go float fly head",
    "from left to right", "from the left to the right", "to the right", "right", "rightwards",
    "rightward", "from the left side to the right side", "from the left edge to the right edge",
    "across to the right", "across the picture to the right", "towards the right",
    "towards the right side", "towards the right edge", "to the right side", "to the right edge",
    "across the picture from left to right", "toward the right", "left to right",
)  # fmt: skip
_UP = (
    "up", "upwards", "upward", "from bottom to top", "from the bottom to the top", "to the top",
    "towards the top", "up to the top", "up from the bottom", "upward from the bottom",
    "from the bottom edge to the top edge", "bottom to top",
)  # fmt: skip
_DOWN = (
    "down", "downwards", "downward", "from top to bottom", "from the top to the bottom",
    "to the bottom", "towards the bottom", "down to the bottom", "down from the top",
    "downward from the top", "from the top edge to the bottom edge", "top to bottom",
)  # fmt: skip
_MORE: dict[tuple[Event, bool], tuple[str, ...]] = {
    (Event.SLIDE, False): _RIGHTWARD,
    (Event.SLIDE, True): tuple(map(mirrored, _RIGHTWARD)),
    (Event.RISE, False): _cross("move travel go float fly head drift rise climb", *_UP),
    (Event.RISE, True): _cross("move travel go float fly head drift fall sink drop come", *_DOWN),
    (Event.GROW, False): (
        *_cross("grow get become", "bigger", "larger", "bigger and bigger", "larger and larger"),
        *_cross("get become", "large", "big", "huge"),
        *_cross("increase expand swell grow", "in size"),
        "{inflate}", "{swell}", "{expand} more and more", "{grow} from small to large",
        "{start} tiny and {end} huge", "{be} small at first and large at the end",
    ),
    (Event.GROW, True): (
        *_cross("grow get become", "smaller", "smaller and smaller", "ever smaller"),
        *_cross("get become", "little", "small", "tiny"),
        *_cross("decrease shrink contract", "in size"),
        "{deflate}", "{contract}", "{shrink} more and more", "{shrink} from large to small",
        "{start} huge and {end} tiny", "{be} large at first and small at the end",
    ),
    (Event.APPEAR, False): (
        *_cross("appear come pop emerge", "out of nowhere", "out of nothing", "from nowhere"),
        *_cross("pop fade come", "into view"),
        "{emerge}", "{pop} up", "{turn} up", "{fade} into view", "{appear} suddenly",
        "{show} out of nowhere", "{show} suddenly", "{become} visible suddenly",
        "{be} not there at first and then {show}", "{be} invisible at first and then visible",
    ),
    (Event.APPEAR, True): (
        *_cross("vanish disappear fade", "from view", "out of view", "into nothing",
                "into thin air"),
        "{fade} out", "{vanish} suddenly", "{disappear} suddenly", "{be} gone at the end",
        "{become} invisible suddenly", "{be} visible at first and then invisible",
        "{be} there at first and then gone", "{be} no longer there at the end",
    ),
    (Event.MEET, False): (
        *_cross("move fly drift travel float slide", "together", "towards each other",
                "closer to each other", "closer together", "toward each other"),
        "{bump} into each other", "{collide}", "{meet} in the middle", "{come} near each other",
        "{touch}", "{join}", "{meet} each other",
    ),
    (Event.MEET, True): (
        *_cross("move fly drift travel float slide", "apart", "away from each other",
                "further apart", "in opposite directions"),
        "{split}", "{split} up", "{leave} each other", "{get} further apart", "{come} apart",
        "{part} from each other",
    ),
    (Event.STILL, False): (
        *_cross("stay remain stand sit rest be", "still", "in place", "in the same place",
                "in one place", "where {it_is}", "at the same spot", "motionless", "at rest"),
        "{not_move}", "{not_move} at all", "{not_go} anywhere", "{not_change}", "{dont_move}",
        "{be} not moving", "{be} static", "{stay} put", "{rest}", "{hold} still", "{be} unmoving",
    ),
    (Event.BOUNCE, False): (
        *_cross("move bounce jump hop leap travel bob", "up and down", "up and back down",
                "up and down again"),
        "{hop}", "{leap}", "{jump} up and {come} down", "{rise} and {fall}",
        "{rise} and then {fall} again", "{go} up then down", "{jump} into the air",
        "{move} to the top and back down",
    ),
    (Event.SWAY, False): (
        *_cross("sway swing move go travel slide rock", "back and forth", "from side to side",
                "side to side", "left and right", "right and back again", "right and left again"),
        "{sway}", "{swing}", "{rock}", "{move} from left to right and back",
        "{go} to the right and {come} back", "{slide} right and then back to the left",
    ),
}  # fmt: skip
MORE_PHRASES = {
    key: tuple(text for text in texts if text not in EVENT_PHRASES[key].test)
    for key, texts in _MORE.items()
}
_TERSE_RIGHTWARD = ("left to right", "to the right", "right", "rightwards", "towards right",
                    "from left to right", "towards the right")  # fmt: skip
TERSE_PHRASES: dict[tuple[Event, bool], tuple[str, ...]] = {  # where no verb is needed
    (Event.SLIDE, False): _TERSE_RIGHTWARD,
    (Event.SLIDE, True): tuple(map(mirrored, _TERSE_RIGHTWARD)),
    (Event.RISE, False): ("up", "upwards", "bottom to top", "to the top", "upward"),
    (Event.RISE, True): ("down", "downwards", "top to bottom", "to the bottom", "downward"),
    (Event.GROW, False): ("bigger", "larger", "small to large", "bigger and bigger"),
    (Event.GROW, True): ("smaller", "large to small", "smaller and smaller"),
    (Event.APPEAR, False): ("out of nowhere", "into view", "suddenly there"),
    (Event.APPEAR, True): ("gone", "out of view", "suddenly gone"),
    (Event.MEET, False): ("together", "towards each other"),
    (Event.MEET, True): ("apart", "away from each other"),
    (Event.STILL, False): ("still", "motionless", "static", "no movement", "at rest", "in place"),
    (Event.BOUNCE, False): ("up and down", "up and back down", "up then down"),
    (Event.SWAY, False): ("back and forth", "side to side", "left and right", "right and back"),
}
MORE_BECOMING = tuple(
    text
    for text in (
        *_cross("switch change turn morph go transform", "from {a} to {b}", "from {a} into {b}"),
        "{start} as {a} and {end} as {b}", "{be} {a} and {become} {b}",
        "{be} {a} at the start and {b} at the end", "{start} {a} and {become} {b}",
        *_cross("turn change be become go start", "{a} then {b}", "{a} and then {b}",
                "first {a} then {b}", "{a} at first and then {b}", "{a} first and {b} later",
                "{a} and later {b}", "{a} , then {b}"),
    )
    if text not in BECOMING.test
)  # fmt: skip
MORE_BECOMING_UNSAID = tuple(
    text
    for text in (
        *_cross("turn transform change morph", "to {b}", "into {b}", "into {b} at the end"),
        *_cross("become be", "{b} at the end", "{b} later", "{b} after a while"),
        *_cross("turn transform change morph", "into {b} later", "to {b} later"),
        *_cross("turn transform change morph", "and {become} {b}", "and then {be} {b}"),
        "then {become} {b}", "later {become} {b}", "later {turn} into {b}",
        "{change} shape to {b}", "{turn} itself into {b}", "{change} form and {become} {b}",
    )
    if text not in BECOMING_UNSAID.test
)  # fmt: skip
MORE_BEING_UNSAID = (
    *_cross("turn become", "{b}", "{b} at the end", "{b} later", "{b} after a while"),
    *_cross("switch turn change", "to {b}", "colour to {b}", "color to {b}", "its colour to {b}"),
)
TERSE_BECOMING = ("{a} to {b}", "first {a} then {b}", "from {a} to {b}", "{a} then {b}")
TERSE_UNSAID = ("then {b}", "into {b}", "to {b}", "later {b}", "becomes {b}", "turns {b}")
MORE_SENTENCES = (
    "show me {who} {doing} {where} {with}",
    "find {who} that {does} {where} {with}",
    "i am looking for {who} {doing} {with} {where}",
    "where {who} {does} {where} {with}",
    "the one with {who} {doing} {where} {with}",
    "the video where {who} {does} {with} {where}",
    "a scene with {who} {doing} {where} {with}",
    "{who} which {does} {where} {with}",
    "{who} that {does} {with} {where}",
    "watch {who} {doing} {with} {where}",
    "look at {who} {doing} {with} {where}",
    "something with {who} {doing} {where} {with}",
)
TERSE_SENTENCES = (
    "{who} {event}",
    "{who} , {event}",
    "{who} {where} {event} {with}",
    "{who} {event} {where} {with}",
    "{who} {with} {event} {where}",
    "{who} {doing} {where} {with}",
    "{doing} {who} {where} {with}",
    "{who} , {doing} , {where} , {with}",
    "{event} , {who} , {where} , {with}",
    "video {who} {event} {where} {with}",
)
MORE_COMPANY = (
    "alongside {second}", "close to {second}", "by {second}", "with {second} in the corner",
    "not far from {second}", "{second} nearby", "while {second} does not move",
    "with {second} standing by", "and {second} nearby",
)  # fmt: skip
MORE_NOUNS = (("thing", "things"), ("object", "objects"))  # where the kind is not told
MORE_KIND_WORDS: dict[Kind, tuple[tuple[str, str], ...]] = {
    Kind.CIRCLE: (("disk", "disks"), ("sphere", "spheres"), ("round shape", "round shapes")),
    Kind.RING: (("doughnut", "doughnuts"), ("loop", "loops"), ("circle with a hole",) * 2),
    Kind.DIAMOND: (("lozenge", "lozenges"), ("rhomb", "rhombs")),
    Kind.SQUARE: (("cube", "cubes"), ("rectangle", "rectangles")),
    Kind.CROSS: (("plus symbol", "plus symbols"),),
    Kind.STAR: (("starlet", "starlets"),),
}
MORE_COLOUR_WORDS: dict[Colour, tuple[str, ...]] = {
    Colour.RED: ("scarlet", "crimson"),
    Colour.YELLOW: ("golden",),
    Colour.TURQUOISE: ("teal", "aqua"),
    Colour.PURPLE: ("lilac",),
    Colour.PINK: ("rose",),
}
MORE_SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.SMALL: ("mini", "smallish"),
    Size.LARGE: ("giant", "enormous"),
}
MORE_TEXTURE_WORDS: dict[Texture, tuple[str, ...]] = {
    Texture.STRIPED: ("banded",),
    Texture.DOTTED: ("speckled", "polka dot"),
}
MORE_BACKGROUND_WORDS: dict[Background, tuple[str, ...]] = {
    Background.GRADIENT: ("a fading background",),
    Background.CHECKER: ("a chessboard", "checks", "a checkered pattern"),
    Background.NOISE: ("static noise", "a speckled background"),
    Background.STRIPES: ("a striped background", "a stripy background"),
}
