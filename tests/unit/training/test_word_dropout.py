"""Texts that lose words while a network is tuned."""

import pytest
import torch

from model.data import pad
from model.word_dropout import WordDropout, forget_spelling
from tests.factories_training import TOKENIZER

TEXTS = ["a red circle moves to the left", "two stars", "a zebra"]


@pytest.fixture
def tokens():
    return pad([encoding.ids for encoding in TOKENIZER.encode_batch(TEXTS)])


def test_words_are_lost_with_all_their_letters_and_one_stays(tokens):
    dropout = WordDropout(TOKENIZER, most=1.0)
    seen = set()
    for seed in range(200):
        left = dropout(tokens, torch.Generator().manual_seed(seed))
        assert left.mask is tokens.mask
        is_lost = left.ids != tokens.ids
        assert (left.ids[is_lost] == dropout.unknown).all()
        assert (is_lost.sum(dim=1) < tokens.mask.sum(dim=1) - 2).all()
        zebra = is_lost[2, 2:7]  # z ##e ##b ##r ##a
        assert zebra.all() or not zebra.any()
        seen.update(is_lost[0].nonzero()[:, 0].tolist())
    assert seen == set(range(1, 8))  # every word, but neither end


def test_the_share_of_lost_words_is_half_of_the_most_on_average(tokens):
    dropout, generator = WordDropout(TOKENIZER, most=0.5), torch.Generator().manual_seed(0)
    lost = [(dropout(tokens, generator).ids[0] != tokens.ids[0]).sum() for _ in range(2000)]
    assert torch.stack(lost).float().mean() / 7 == pytest.approx(0.25, abs=0.04)


def test_a_tokenizer_without_an_unknown_word_is_refused():
    content = TOKENIZER.to_str().replace('"[UNK]":', '"[WHAT]":')
    with pytest.raises(ValueError, match=r"no token \[UNK\]"):
        WordDropout(type(TOKENIZER).from_str(content), most=0.5)


def test_unknown_words_are_read_as_one_and_known_ones_as_before():
    reading = forget_spelling(TOKENIZER)
    assert reading.encode("a zebra").tokens == ["[CLS]", "a", "[UNK]", "[SEP]"]
    known = "a red circle moves to the left ."
    assert reading.encode(known).ids == TOKENIZER.encode(known).ids
    assert reading.get_vocab_size() == TOKENIZER.get_vocab_size()
