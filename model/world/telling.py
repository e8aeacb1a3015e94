"""Build the sentence of a caption, part by part, from the facets that it tells."""

import random
import re
from typing import Literal, TypeAlias

from model.world import viewers
from model.world.story import Event, Facet, Story, Thing
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
Manner: TypeAlias = Literal["template", "viewer", "terse"]

SHARE_VIEWER, SHARE_TERSE = 0.45, 0.15  # of training captions; the rest are of the templates
SHARE_SYNONYM = 0.15  # of the words of viewers that are rarer ones
SHARE_THE = 0.15  # of the articles of viewers


class Teller:
    """Builds the parts of one sentence.

    Args:
        story: what happens.
        rng: chooses the words.
        split: whose templates; the test split has no viewers.
        mentions: the facets that are told.
    """

    def __init__(
        self, story: Story, rng: random.Random, split: Split, mentions: frozenset[Facet]
    ) -> None:
        self.story = story
        self.rng = rng
        self.split = split
        self.mentions = mentions
        self.manner: Manner = "template" if split == "test" else _draw_manner(rng)
        self.first, self.last = (
            (story.later, story.thing) if story.is_backward else (story.thing, story.later)
        )
        self.is_many = story.count > 1 or story.event is Event.MEET

    def sentence(self) -> str:
        """Return the whole sentence, with gaps where something is left out."""
        event, who = self._event_and_subject()
        if Facet.EVENT not in self.mentions:
            template = self.rng.choice(("{who} {where} {with}", "{who} {with} {where}"))
        elif self.manner == "terse":
            template = self.rng.choice(viewers.TERSE_SENTENCES)
        else:
            template = self._pick(SENTENCES, viewers.MORE_SENTENCES)
        parts = {"who": who, "with": self._company(), "where": self._where()}
        parts["be"] = "are" if self.is_many else "is"
        parts["does"], parts["doing"] = self._inflect(event)
        parts["event"] = parts["doing"] if "{" in event else event
        return template.format(**parts)

    def _pick(self, phrases: Phrases, more: tuple[str, ...]) -> str:
        if self.split == "test":
            return self.rng.choice(phrases.test)
        is_more = self.manner != "template" and self.rng.random() < 0.7  # noqa: PLR2004 - a share
        return self.rng.choice(more if is_more else phrases.train)

    def _company(self) -> str:
        second = self.story.second
        if second is None or self.story.event is Event.MEET or Facet.SECOND not in self.mentions:
            return ""
        return self._pick(COMPANY, viewers.MORE_COMPANY).format(second=self._name(second))

    def _where(self) -> str:
        if Facet.BACKGROUND not in self.mentions:
            return ""
        background = self.story.background
        preposition = self.rng.choice(PREPOSITIONS) + " "
        return preposition + self._word(
            BACKGROUND_WORDS[background], viewers.MORE_BACKGROUND_WORDS.get(background)
        )

    # --- what happens, and to what

    def _event_and_subject(self) -> tuple[str, str]:
        story = self.story
        if story.event is Event.RECOLOUR and Facet.EVENT in self.mentions:
            return self._recolouring()
        if story.event is Event.MORPH and Facet.EVENT in self.mentions:
            return self._morphing()
        if story.event in (Event.RECOLOUR, Event.MORPH):
            return "", self._subject(self.first)
        happening = story.event, story.is_backward and story.is_reversible
        if self.manner == "terse" and self.rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
            event = self.rng.choice(viewers.TERSE_PHRASES[happening])
        else:
            event = self._pick(EVENT_PHRASES[happening], viewers.MORE_PHRASES[happening])
        return event, self._subject(story.thing)

    def _recolouring(self) -> tuple[str, str]:
        first, last = (self._colour(thing) for thing in (self.first, self.last))
        if self.rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
            event = self._unsaid(Phrases(BEING_UNSAID, BEING_UNSAID), viewers.MORE_BEING_UNSAID)
            return event.replace("{b}", last), self._subject(self.first)
        event = self._becoming().replace("{a}", first).replace("{b}", last)
        return event, self._subject(self.first, has_colour=False)

    def _morphing(self) -> tuple[str, str]:
        first, last = (
            self._counted(self._noun(thing), is_many=self.is_many)
            for thing in (self.first, self.last)
        )
        if self.rng.random() < 0.6:  # noqa: PLR2004 - a share
            event = self._unsaid(BECOMING_UNSAID, viewers.MORE_BECOMING_UNSAID)
            return event.replace("{b}", last), self._subject(self.first)
        event = self._becoming().replace("{a}", first).replace("{b}", last)
        return event, self._subject(self.first, has_kind=False)

    def _becoming(self) -> str:
        if self.manner == "terse":
            return self.rng.choice(viewers.TERSE_BECOMING)
        return self._pick(BECOMING, viewers.MORE_BECOMING)

    def _unsaid(self, phrases: Phrases, more: tuple[str, ...]) -> str:
        if self.manner == "terse":
            return self.rng.choice(viewers.TERSE_UNSAID)
        return self._pick(phrases, more)

    def _subject(self, thing: Thing, *, has_colour: bool = True, has_kind: bool = True) -> str:
        mentions = self.mentions
        colour = self._colour(thing) if has_colour and Facet.COLOUR in mentions else ""
        texture = size = ""
        if Facet.TEXTURE in mentions:
            more = viewers.MORE_TEXTURE_WORDS.get(thing.texture)
            texture = self._word(TEXTURE_WORDS[thing.texture], more)
        if Facet.SIZE in mentions:
            size = self._word(SIZE_WORDS[thing.size], viewers.MORE_SIZE_WORDS[thing.size])
        noun = self._noun(thing) if has_kind and Facet.KIND in mentions else self._anything()
        order = [size, texture, colour] if self.rng.random() < 0.8 else [texture, size, colour]  # noqa: PLR2004
        phrase = " ".join(word for word in (*order, noun) if word)
        if self.story.event is not Event.MEET:
            return self._with_count(phrase)
        both = [self._with_article(phrase), self._partner(size)]
        return " and ".join(both if self.rng.random() < 0.5 else both[::-1])  # noqa: PLR2004

    def _partner(self, size: str) -> str:
        if self.story.second is None:
            raise ValueError("two things meet or part, but the story has one")
        name = f"{self._colour(self.story.second)} {self._noun(self.story.second)}"
        return self._with_article(f"{size} {name}".strip())

    # --- words

    def _with_count(self, phrase: str) -> str:
        count = self.story.count
        if Facet.COUNT not in self.mentions:
            return phrase if count > 1 else self._with_article(phrase)
        if count == 1 and self.rng.random() < 0.6:  # noqa: PLR2004 - a share
            return self._with_article(phrase)
        return f"{self._word(COUNT_WORDS[count])} {phrase}"

    def _name(self, thing: Thing) -> str:
        return self._with_article(f"{self._colour(thing)} {KIND_WORDS[thing.kind][0][0]}")

    def _counted(self, noun: str, *, is_many: bool) -> str:
        return noun if is_many else self._with_article(noun)

    def _noun(self, thing: Thing) -> str:
        is_several = self.story.count > 1
        more = viewers.MORE_KIND_WORDS.get(thing.kind)
        if more and self._is_rare():
            return self.rng.choice(more)[is_several]
        forms = KIND_WORDS[thing.kind]
        usual = forms[0] if self.rng.random() < 0.5 else self.rng.choice(forms)  # noqa: PLR2004
        return usual[is_several]

    def _anything(self) -> str:
        is_several = self.story.count > 1
        if self._is_rare():
            return self.rng.choice(viewers.MORE_NOUNS)[is_several]
        return ("shape", "shapes")[is_several]

    def _colour(self, thing: Thing) -> str:
        return self._word(COLOUR_WORDS[thing.colour], viewers.MORE_COLOUR_WORDS.get(thing.colour))

    def _word(self, words: tuple[str, ...], more: tuple[str, ...] | None = None) -> str:
        return self.rng.choice(more if more and self._is_rare() else words)

    def _is_rare(self) -> bool:
        return self.manner != "template" and self.rng.random() < SHARE_SYNONYM

    def _with_article(self, phrase: str) -> str:
        if self.manner == "viewer" and self.rng.random() < SHARE_THE:
            return f"the {phrase}"
        return f"{'an' if phrase[0] in 'aeio' else 'a'} {phrase}"

    def _inflect(self, event: str) -> tuple[str, str]:
        """Return the event as "moves from ..." (or "move ..." of several) and "moving from ..."."""
        event = event.replace("{it_is}", "they are" if self.is_many else "it is")

        def form(index: int) -> str:
            def verb(match: re.Match[str]) -> str:
                return VERBS[match.group(1)][index]

            return re.sub(r"{(\w+)}", verb, event)

        return form(0 if self.is_many else 1), form(2)


def _draw_manner(rng: random.Random) -> Manner:
    fate = rng.random()
    if fate < SHARE_TERSE:
        return "terse"
    return "viewer" if fate < SHARE_TERSE + SHARE_VIEWER else "template"
