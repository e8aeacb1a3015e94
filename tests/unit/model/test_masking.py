"""Which words are hidden: whole ones, never special ones, the right share."""

import pytest
import torch

from model.masking import WordMasker
from model.objectives.masked_language import IGNORED
from model.retrieval import Tokens

PAD, UNK, CLS, SEP, MASK = range(5)
VOCABULARY, FIRST_CONTINUATION = 100, 80


@pytest.fixture
def masker():
    return WordMasker(
        mask_id=MASK,
        special_ids=[PAD, UNK, CLS, SEP, MASK],
        is_continuation=torch.arange(VOCABULARY) >= FIRST_CONTINUATION,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def tokens():
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (2000, 20), generator=draw)
    lengths = torch.randint(3, 21, (2000, 1), generator=draw)
    slots = torch.arange(20)
    ids[:, 0] = CLS
    ids[:, 1] = 7  # a text starts with a word, never with the rest of one
    ids = torch.where(slots == lengths - 1, SEP, ids).masked_fill(slots >= lengths, PAD)
    return Tokens(ids, slots < lengths)


def test_labels_are_the_true_words_and_the_rest_stays(masker, tokens):
    masked = masker(tokens)
    hidden = masked.labels != IGNORED
    assert (masked.labels[hidden] == tokens.ids[hidden]).all()
    assert (masked.tokens.ids[~hidden] == tokens.ids[~hidden]).all()
    assert (masked.tokens.mask == tokens.mask).all()


def test_special_tokens_and_padding_are_never_hidden(masker, tokens):
    hidden = masker(tokens).labels != IGNORED
    assert not hidden[tokens.ids < 5].any()


def test_every_text_hides_at_least_one_word(masker, tokens):
    assert (masker(tokens).labels != IGNORED).any(dim=1).all()


def test_pieces_of_a_word_are_hidden_together(masker, tokens):
    hidden = masker(tokens).labels != IGNORED
    continues = tokens.ids[:, 1:] >= FIRST_CONTINUATION
    assert (hidden[:, 1:] == hidden[:, :-1])[continues].all()


def test_hidden_words_are_masked_exchanged_or_kept(masker, tokens):
    masked = masker(tokens)
    hidden = masked.labels != IGNORED
    ids = masked.tokens.ids[hidden]
    assert (ids == MASK).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (ids == tokens.ids[hidden]).float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert not torch.isin(ids, torch.tensor([PAD, UNK, CLS, SEP])).any()


def test_a_text_without_words_hides_nothing(masker):
    empty = Tokens(torch.tensor([[CLS, SEP, PAD]]), torch.tensor([[True, True, False]]))
    masked = masker(empty)
    assert (masked.labels == IGNORED).all()
    assert (masked.tokens.ids == empty.ids).all()
