"""Say in words what happens in a story: many wordings, and people leave things out."""

import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from model.world.story import SYMMETRIC_EVENTS, Event, Facet, Story, Texture, Thing, facts
from model.world.wording import (
    BECOMING,
    BECOMING_UNSAID,
    BEING_UNSAID,
    COMPANY,
    EVENT_PHRASES,
    SENTENCES,
    Phrases,
)
from model.world.words import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    COUNT_WORDS,
    KIND_WORDS,
    PREPOSITIONS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    VERBS,
)

Split: TypeAlias = Literal["train", "test"]

SHARE_TERSE = 0.08  # of training captions that drop articles and fillers, as typed queries do
SHARE_STRAY = 0.05  # of training captions with a word that means nothing
SHARE_EVENTLESS = 0.08  # of captions without required facets that name things alone
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
    teller = _Teller(story, rng, split, mentions)
    text = _tidy(teller.sentence())
    if split == "train":
        text = _roughened(text, rng)
    return Caption(text, mentions)


def words_of(split: Split) -> set[str]:
    """Return every word that the templates of a split can produce, numbers and names included."""
    phrases = [SENTENCES, COMPANY, BECOMING, BECOMING_UNSAID, *EVENT_PHRASES.values()]
    texts = [text for pair in phrases for text in getattr(pair, split)]
    verbs = {verb for text in texts for verb in re.findall(r"{(\w+)}", text) if verb in VERBS}
    texts += [form for verb in verbs for form in VERBS[verb]]
    texts += ["a an and shape shapes thing things something", *PREPOSITIONS, *BEING_UNSAID]
    named = (COLOUR_WORDS, SIZE_WORDS, TEXTURE_WORDS, COUNT_WORDS, BACKGROUND_WORDS)
    texts += [word for table in named for words in table.values() for word in words]
    texts += [form for words in KIND_WORDS.values() for pair in words for form in pair]
    return set(re.sub(r"{\w+}|,", " ", " ".join(texts)).split())


def _mentions(
    story: Story, rng: random.Random, required: Collection[Facet], detail: float
) -> frozenset[Facet]:
    told = {facet for facet in Facet if facet in required or rng.random() < detail}
    told |= {Facet.KIND} if rng.random() < 0.9 else set()  # noqa: PLR2004 - a share
    told |= {Facet.EVENT} if required or rng.random() > SHARE_EVENTLESS else set()
    if story.event is Event.RECOLOUR and Facet.EVENT in told:
        told |= {Facet.COLOUR}
    if story.event in (Event.MORPH, Event.MEET) and Facet.EVENT in told:
        told |= {Facet.KIND}
    if story.event is Event.MEET:
        told |= {Facet.SECOND}
    if story.second is None:
        told.discard(Facet.SECOND)
    if story.event is Event.GROW:
        told.discard(Facet.SIZE)
    if story.thing.texture is Texture.PLAIN and Facet.TEXTURE not in required:
        told.discard(Facet.TEXTURE)  # nobody says it of a plain thing
    if story.event in SYMMETRIC_EVENTS and story.event is Event.STILL and not required:
        told -= {Facet.EVENT} if rng.random() < 0.4 else set()  # noqa: PLR2004 - a share
    if Facet.EVENT in told:
        told.add(Facet.TIME)
    else:
        told.discard(Facet.TIME)
    return frozenset(told - ({Facet.TIME} if not story.is_reversible else set()))


class _Teller:
    """Builds the parts of one sentence."""

    def __init__(
        self, story: Story, rng: random.Random, split: Split, mentions: frozenset[Facet]
    ) -> None:
        self.story = story
        self.rng = rng
        self.split = split
        self.mentions = mentions
        self.first, self.last = (
            (story.later, story.thing) if story.is_backward else (story.thing, story.later)
        )
        self.is_many = story.count > 1 or story.event is Event.MEET

    def sentence(self) -> str:
        """Return the whole sentence, with gaps where something is left out."""
        event, who = self._event_and_subject()
        if Facet.EVENT not in self.mentions:
            template = self.rng.choice(("{who} {where} {with}", "{who} {with} {where}"))
        else:
            template = self._pick(SENTENCES)
        has_company = self.story.second and self.story.event is not Event.MEET
        company = ""
        if has_company and self.story.second and Facet.SECOND in self.mentions:
            company = self._pick(COMPANY).format(second=self._name(self.story.second))
        where = ""
        if Facet.BACKGROUND in self.mentions:
            where = self.rng.choice(PREPOSITIONS) + " "
            where += self.rng.choice(BACKGROUND_WORDS[self.story.background])
        parts = {"who": who, "where": where, "with": company, "be": "are" if self.is_many else "is"}
        parts["does"], parts["doing"] = self._inflect(event)
        return template.format(**parts)

    def _pick(self, phrases: Phrases) -> str:
        return self.rng.choice(phrases.train if self.split == "train" else phrases.test)

    def _event_and_subject(self) -> tuple[str, str]:
        story = self.story
        if story.event is Event.RECOLOUR and Facet.EVENT in self.mentions:
            return self._recolouring()
        if story.event is Event.MORPH and Facet.EVENT in self.mentions:
            return self._morphing()
        if story.event in (Event.RECOLOUR, Event.MORPH):
            return "", self._subject(self.first)
        is_backward = story.is_backward and story.is_reversible
        return self._pick(EVENT_PHRASES[story.event, is_backward]), self._subject(story.thing)

    def _recolouring(self) -> tuple[str, str]:
        first, last = (self._colour(thing) for thing in (self.first, self.last))
        if self.rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
            event = self.rng.choice(BEING_UNSAID).replace("{b}", last)
            return event, self._subject(self.first)
        event = self._pick(BECOMING).replace("{a}", first).replace("{b}", last)
        return event, self._subject(self.first, has_colour=False)

    def _morphing(self) -> tuple[str, str]:
        first, last = (
            self._counted(self._noun(thing), is_many=self.is_many)
            for thing in (self.first, self.last)
        )
        if self.rng.random() < 0.6:  # noqa: PLR2004 - a share
            event = self._pick(BECOMING_UNSAID).replace("{b}", last)
            return event, self._subject(self.first)
        event = self._pick(BECOMING).replace("{a}", first).replace("{b}", last)
        return event, self._subject(self.first, has_kind=False)

    def _subject(self, thing: Thing, *, has_colour: bool = True, has_kind: bool = True) -> str:
        mentions = self.mentions
        colour = self._colour(thing) if has_colour and Facet.COLOUR in mentions else ""
        texture = self._word(TEXTURE_WORDS[thing.texture]) if Facet.TEXTURE in mentions else ""
        size = self._word(SIZE_WORDS[thing.size]) if Facet.SIZE in mentions else ""
        is_named = has_kind and Facet.KIND in mentions
        noun = self._noun(thing) if is_named else ("shapes" if self.story.count > 1 else "shape")
        order = [size, texture, colour] if self.rng.random() < 0.8 else [texture, size, colour]  # noqa: PLR2004
        phrase = " ".join(word for word in (*order, noun) if word)
        if self.story.event is not Event.MEET:
            return self._with_count(phrase)
        both = [_with_article(phrase), self._partner(size)]
        return " and ".join(both if self.rng.random() < 0.5 else both[::-1])  # noqa: PLR2004

    def _partner(self, size: str) -> str:
        if self.story.second is None:
            raise ValueError("two things meet or part, but the story has one")
        name = f"{self._colour(self.story.second)} {self._noun(self.story.second)}"
        return _with_article(f"{size} {name}".strip())

    def _with_count(self, phrase: str) -> str:
        count = self.story.count
        if Facet.COUNT not in self.mentions:
            return phrase if count > 1 else _with_article(phrase)
        if count == 1 and self.rng.random() < 0.6:  # noqa: PLR2004 - a share
            return _with_article(phrase)
        return f"{self._word(COUNT_WORDS[count])} {phrase}"

    def _name(self, thing: Thing) -> str:
        return _with_article(f"{self._colour(thing)} {KIND_WORDS[thing.kind][0][0]}")

    def _counted(self, noun: str, *, is_many: bool) -> str:
        return noun if is_many else _with_article(noun)

    def _noun(self, thing: Thing) -> str:
        forms = KIND_WORDS[thing.kind]
        usual = forms[0] if self.rng.random() < 0.5 else self.rng.choice(forms)  # noqa: PLR2004
        return usual[self.story.count > 1]

    def _colour(self, thing: Thing) -> str:
        return self._word(COLOUR_WORDS[thing.colour])

    def _word(self, words: tuple[str, ...]) -> str:
        return self.rng.choice(words)

    def _inflect(self, event: str) -> tuple[str, str]:
        """Return the event as "moves from ..." (or "move ..." of several) and "moving from ..."."""

        def form(index: int) -> str:
            def verb(match: re.Match[str]) -> str:
                return VERBS[match.group(1)][index]

            return re.sub(r"{(\w+)}", verb, event)

        return form(0 if self.is_many else 1), form(2)


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeio' else 'a'} {phrase}"


def _tidy(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip(" ,")
    return text.replace(" ,", ",")


def _roughened(text: str, rng: random.Random) -> str:
    """Write some captions the way people type: terse, or with a word that means nothing."""
    words = text.split()
    if rng.random() < SHARE_TERSE:
        words = [word for word in words if word not in FILLERS]
    if rng.random() < SHARE_STRAY:
        stray = "".join(rng.choices(LETTERS, k=rng.randint(2, 8)))
        words.insert(rng.randrange(len(words) + 1), stray)
    return " ".join(words)
