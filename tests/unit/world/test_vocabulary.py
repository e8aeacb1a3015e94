"""The tokenizer of the procedural world."""

import pytest

from model.world.families import family, gallery
from model.world.lexicon import FIRST, WORDS
from model.world.vocabulary import CLS, SEP, make_tokenizer

TOKENIZER = make_tokenizer(40)


def pieces_of(text):
    return TOKENIZER.encode(text).tokens


def test_captions_are_made_of_known_words():
    for member in gallery(200, seed=3):
        pieces = pieces_of(member.caption.text)
        assert "[UNK]" not in pieces
        assert not [piece for piece in pieces if piece.startswith("##")]


def test_words_of_training_are_known_but_for_the_meaningless_ones():
    texts = [member.caption.text for seed in range(1500) for member in family(seed)]
    spelt = [text for text in texts if any(p.startswith("##") for p in pieces_of(text))]
    assert len(spelt) < 0.07 * len(texts)  # 5 % have a stray word


def test_every_word_has_one_id_and_old_words_keep_theirs():
    assert len(set(WORDS)) == len(WORDS)
    first = FIRST.split()
    ids = [TOKENIZER.token_to_id(word) for word in WORDS]
    assert ids == list(range(109, 109 + len(WORDS)))
    assert (first[0], first[-1], len(first)) == ("across", "you", 295)


@pytest.mark.parametrize("text", ["zebra", "Ünïcödé", "a1!?", "a GREEN Star"])
def test_unknown_words_are_spelt(text):
    assert "[UNK]" not in TOKENIZER.encode(text).tokens


@pytest.mark.parametrize("text", ["", "日本", "\x00", "a " * 500])
def test_any_text_has_ends_and_fits(text):
    ids = TOKENIZER.encode(text).ids
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert len(ids) <= 40
