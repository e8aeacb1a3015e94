"""The words and templates that captions are made of; the test split's templates are its own.

Every word of a test template occurs in a training template too, so what a test asks is whether
the wording is understood, never whether a word is known.

In a template, `{move}` stands for a verb in the form that fits (`words.VERBS`), `{a}` and `{b}` for
what a thing is first and last.
"""

from dataclasses import dataclass

from model.world.story import Event


@dataclass(frozen=True)
class Phrases:
    """How an event is told, in the two splits."""

    train: tuple[str, ...]
    test: tuple[str, ...]


_RIGHTWARD = Phrases(
    train=(
        "{move} from left to right",
        "{drift} from the left to the right",
        "{slide} to the right",
        "{go} from the left side to the right side",
        "{travel} rightwards",
        "{float} right",
        "{cross} the picture from left to right",
        "{start} on the left and {end} on the right",
        "{move} towards the right edge",
        "{glide} across to the right",
        "{fly} in the right direction",
    ),
    test=(
        "{travel} from left to right",
        "{glide} rightwards",
        "{go} across the picture to the right",
        "{drift} towards the right side",
        "{move} from the left edge to the right edge",
    ),
)
_RISING = Phrases(
    train=(
        "{rise}",
        "{move} up",
        "{float} upwards",
        "{climb} to the top",
        "{go} from the bottom to the top",
        "{drift} from bottom to top",
        "{fly} up to the top edge",
        "{start} at the bottom and {end} at the top",
        "{travel} upward",
        "{head} up",
        "{come} up from the bottom",
        "{climb} up from the bottom edge",
        "{float} from the bottom edge upwards",
    ),
    test=(
        "{go} up",
        "{travel} from bottom to top",
        "{rise} to the top",
        "{drift} upwards",
        "{move} upward from the bottom",
    ),
)
_FALLING = Phrases(
    train=(
        "{fall}",
        "{move} down",
        "{sink} downwards",
        "{drop} to the bottom",
        "{go} from the top to the bottom",
        "{drift} from top to bottom",
        "{fall} down to the bottom edge",
        "{start} at the top and {end} at the bottom",
        "{travel} downward",
        "{descend}",
        "{head} down",
        "{come} down from the top",
        "{sink} down from the top edge",
        "{drop} from the top edge downwards",
    ),
    test=(
        "{go} down",
        "{travel} from top to bottom",
        "{fall} to the bottom",
        "{drift} downwards",
        "{move} downward from the top",
    ),
)


def mirrored(text: str) -> str:
    """Swap left and right."""
    return text.replace("right", "\0").replace("left", "right").replace("\0", "left")


def _mirrored(phrases: Phrases) -> Phrases:
    return Phrases(tuple(map(mirrored, phrases.train)), tuple(map(mirrored, phrases.test)))


EVENT_PHRASES: dict[tuple[Event, bool], Phrases] = {  # by event and whether it runs backward
    (Event.SLIDE, False): _RIGHTWARD,
    (Event.SLIDE, True): _mirrored(_RIGHTWARD),
    (Event.RISE, False): _RISING,
    (Event.RISE, True): _FALLING,
    (Event.GROW, False): Phrases(
        train=(
            "{grow}",
            "{get} bigger",
            "{get} larger and larger",
            "{expand}",
            "{become} bigger",
            "{come} closer",
            "{grow} in size",
            "{start} small and {end} large",
            "{enlarge}",
        ),
        test=("{grow} bigger", "{become} larger", "{get} bigger and bigger", "{expand} in size"),
    ),
    (Event.GROW, True): Phrases(
        train=(
            "{shrink}",
            "{get} smaller",
            "{get} smaller and smaller",
            "{become} smaller",
            "{move} away",
            "{shrink} in size",
            "{start} large and {end} small",
            "{become} tiny",
        ),
        test=("{become} smaller and smaller", "{shrink} and {get} smaller", "{get} tiny"),
    ),
    (Event.APPEAR, False): Phrases(
        train=(
            "{appear}",
            "{show}",
            "{come} into view",
            "{fade} in",
            "{turn} visible",
            "suddenly {appear}",
            "{be} missing at first and then {appear}",
            "{appear} out of nothing",
        ),
        test=("{become} visible", "suddenly {show}", "{appear} in view", "{come} out of nothing"),
    ),
    (Event.APPEAR, True): Phrases(
        train=(
            "{vanish}",
            "{disappear}",
            "{fade} away",
            "{go} out of view",
            "{turn} invisible",
            "suddenly {disappear}",
            "{be} there at first and then {vanish}",
            "{vanish} into nothing",
        ),
        test=("{become} invisible", "suddenly {vanish}", "{fade} out of view",
              "{disappear} into nothing"),
    ),
    (Event.MEET, False): Phrases(
        train=(
            "{meet}",
            "{come} together",
            "{move} towards each other",
            "{approach} each other",
            "{get} closer to each other",
            "{start} apart and {end} together",
        ),
        test=("{go} towards each other", "{get} together", "{come} closer to each other"),
    ),
    (Event.MEET, True): Phrases(
        train=(
            "{part}",
            "{move} apart",
            "{separate}",
            "{move} away from each other",
            "{drift} apart",
            "{start} together and {end} apart",
        ),
        test=("{go} apart", "{get} away from each other", "{separate} from each other"),
    ),
    (Event.STILL, False): Phrases(
        train=("{stay} still", "{remain} in place", "{be} still", "{stand} still",
               "{stay} in the same place", "{be} at rest"),
        test=("{remain} still", "{stand} in the same place", "{be} in place"),
    ),
    (Event.BOUNCE, False): Phrases(
        train=("{go} up and come back down", "{jump} up and down", "{bounce}",
               "{move} up and then down again", "{jump}", "{rise} and fall again"),
        test=("{bounce} up and down", "{go} up and then down again", "{jump} up and fall again"),
    ),
    (Event.SWAY, False): Phrases(
        train=("{move} back and forth", "{go} to the right and back again",
               "{swing} from side to side", "{go} right and then left again",
               "{move} right and {return} to the left"),
        test=("{go} back and forth", "{move} from side to side", "{move} right and back again"),
    ),
}  # fmt: skip
BECOMING = Phrases(  # recolour and morph; {a} is what it is first, {b} what it becomes
    train=(
        "{turn} from {a} to {b}",
        "{change} from {a} into {b}",
        "{be} first {a} then {b}",
        "{be} {a} at first and {b} at the end",
        "{start} {a} and {end} {b}",
        "{go} from {a} to {b}",
    ),
    test=("{change} from {a} to {b}", "{be} {a} at first and then {b}", "{turn} {a} then {b}"),
)
BECOMING_UNSAID = Phrases(  # the subject says what it is first
    train=("{turn} into {b}", "{become} {b}", "{change} into {b}", "{morph} into {b}",
           "{transform} into {b}", "{be} {b} later"),
    test=("{turn} into {b} later", "{change} and {become} {b}"),
)  # fmt: skip
BEING_UNSAID = ("{turn} {b}", "{change} to {b}", "{become} {b}", "{change} colour to {b}")

SENTENCES = Phrases(
    # {who} the subject, {does} the event in the third person, {doing} in -ing, {where} the
    # background with its preposition, {with} the second thing; the latter two may be empty
    train=(
        "{who} {does} {where} {with}",
        "{who} {doing} {where} {with}",
        "{who} {does} {with} {where}",
        "{who} {doing} {with} {where}",
        "{where} , {who} {does} {with}",
        "{with} , {who} {does} {where}",
        "a video of {who} {doing} {where} {with}",
        "a clip in which {who} {does} {where} {with}",
        "there {be} {who} that {does} {where} {with}",
        "{who} {where} {with} , {doing}",
        "{who} {with} {doing} , {where}",
        "you see {who} {doing} {with} {where}",
    ),
    test=(
        "there {be} {who} {doing} {where} {with}",
        "{where} you see {who} {doing} {with}",
        "a clip of {who} {with} {where} that {does}",
        "in a video , {who} {does} {with} {where}",
        "{who} {where} {doing} {with}",
    ),
)
COMPANY = Phrases(
    train=("with {second} nearby", "next to {second}", "near {second}", "beside {second}",
           "while {second} stays still", "with {second} beside"),
    test=("with {second} near", "while {second} is beside", "with {second} next to"),
)  # fmt: skip
