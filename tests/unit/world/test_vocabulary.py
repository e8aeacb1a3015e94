"""The tokenizer of the procedural world."""

import pytest

from model.world.families import gallery
from model.world.vocabulary import CLS, SEP, make_tokenizer

TOKENIZER = make_tokenizer(40)


def test_captions_are_made_of_known_words():
    for member in gallery(200, seed=3):
        pieces = TOKENIZER.encode(member.caption.text).tokens
        assert "[UNK]" not in pieces
        assert not [piece for piece in pieces if piece.startswith("##")]


@pytest.mark.parametrize("text", ["zebra", "Ünïcödé", "a1!?", "a GREEN Star"])
def test_unknown_words_are_spelt(text):
    assert "[UNK]" not in TOKENIZER.encode(text).tokens


@pytest.mark.parametrize("text", ["", "日本", "\x00", "a " * 500])
def test_any_text_has_ends_and_fits(text):
    ids = TOKENIZER.encode(text).ids
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert len(ids) <= 40
