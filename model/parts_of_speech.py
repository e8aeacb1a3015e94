"""Which words of a text name things or tell what happens: its nouns and its verb phrases.

Words are tagged by Brill's lexicon, which comes with the package `textblob`, and unknown ones by
their ends: nothing is downloaded. Clover (arXiv:2207.07885) uses a neural tagger.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from textblob import en

BE = frozenset(("am", "are", "be", "been", "being", "is", "was", "were"))
BE_NOT = frozenset(("ain", "aren", "isn", "wasn", "weren"))
HAVE_OR_DO = frozenset(("did", "do", "does", "doing", "done", "had", "has", "have", "having"))
APOSTROPHES = ("'", "\N{RIGHT SINGLE QUOTATION MARK}")
CLITICS = frozenset(("d", "ll", "m", "re", "s", "t", "ve"))
"""What an apostrophe leaves of a word."""
NEGATIONS = frozenset(("no", "not", "never"))
VERB_PHRASE = re.compile("(?=(V?R*A*V+))")
"""Clover's pattern: a verb, adverbs, auxiliaries, verbs. It looks ahead, so matches may overlap."""


def meaningful_words(words: Sequence[str]) -> list[int]:
    """Return which words are nouns, proper nouns, or inside a verb phrase, each once, in order.

    Args:
        words: of one text in lower case, punctuation apart.
    """
    kinds = _kinds(words)
    found = {index for index, kind in enumerate(kinds) if kind == "N"}
    for match in VERB_PHRASE.finditer(kinds):
        found.update(range(match.start(1), match.end(1)))
    return sorted(found)


def _kinds(words: Sequence[str]) -> str:
    """Return one letter a word: Noun, Verb, Auxiliary, adveRb, X for a negation, or a dot."""
    tags: list[tuple[str, str]] = _tagger().find_tags(list(words))
    kinds = [_kind(word, tag) for word, (_, tag) in zip(words, tags, strict=True)]
    for index, word in enumerate(words):
        if word in CLITICS and index and words[index - 1] in APOSTROPHES:
            kinds[index] = "."
        elif word in HAVE_OR_DO and _is_before_verb(kinds, index):
            kinds[index] = "A"
    return "".join(kinds)


def _kind(word: str, tag: str) -> str:
    if not any(letter.isalpha() for letter in word):
        return "."
    if word in NEGATIONS:
        return "X"
    if word in BE or word in BE_NOT or tag == "MD":
        return "A"
    return {"NN": "N", "VB": "V", "RB": "R"}.get(tag[:2], ".")


def _is_before_verb(kinds: Sequence[str], index: int) -> bool:
    """Say whether a verb follows, after all that may stand between: then this word only helps."""
    rest = "".join(kinds[index + 1 :]).lstrip("RXA")
    return rest[:1] == "V"


@cache
def _tagger() -> en.Parser:
    """Read the lexicon once; the package's own instance would leave its file open."""
    lines = (Path(en.__file__).parent / "en-lexicon.txt").read_text("utf-8").split("\n")
    return en.Parser(lexicon=en.Lexicon(path=lines, language="en"), language="en")
