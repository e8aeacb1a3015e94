"""Texts that lose words while a network is tuned."""

import numpy as np
import pytest
import torch

from model.data import RawBatch, collate, pad
from model.word_dropout import WordDropout, forget_spelling, leave_out_words
from tests.factories_training import PREPROCESSING, TOKENIZER

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


def test_a_step_loses_the_same_words_wherever_training_begins():
    dropout = WordDropout(TOKENIZER, most=0.9)

    def ids(first):
        source = (batch for batch in [make_batch()] * (4 - first))
        batches = leave_out_words(source, dropout, seed=5, first=first)
        return [batch.tokens.ids.tolist() for batch in batches]

    whole = ids(0)
    assert whole[0] != whole[1]
    assert ids(2) == whole[2:]


def make_batch():
    nothing = np.zeros((len(TEXTS), 0), np.int64)
    side, frames = PREPROCESSING.frame_size, PREPROCESSING.frames_per_clip
    raw = RawBatch(
        clips=np.zeros((len(TEXTS), frames, side, side, 3), np.uint8),
        texts=TEXTS,
        groups=np.arange(len(TEXTS)),
        is_true=np.eye(len(TEXTS), dtype=bool),
        clip_facts=nothing,
        text_facts=nothing,
    )
    return collate(raw, TOKENIZER, preprocessing=PREPROCESSING)
