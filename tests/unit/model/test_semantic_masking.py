"""Which words carry the meaning, and that these are hidden."""

import pytest
import torch
from tokenizers import Tokenizer, models

from model.data import pad
from model.masking import WordMasker
from model.objectives.masked_language import IGNORED
from model.parts_of_speech import meaningful_words
from model.retrieval import Tokens
from model.semantic_masking import SemanticMasker
from tests.factories_model import make_tokenizer

NAMED = "a red ball and a green dog"  # candidates: ball, dog


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def masker(tokenizer):
    return SemanticMasker(tokenizer, generator=torch.Generator().manual_seed(0))


def _tokens(tokenizer, *texts):
    return pad([encoding.ids for encoding in tokenizer.encode_batch(list(texts))])


def _hidden_words(tokenizer, tokens, masked):
    """Return the pieces of each text that are to be named."""
    hidden = masked.labels != IGNORED
    return [
        [tokenizer.id_to_token(i) for i in ids[row].tolist()]
        for ids, row in zip(tokens.ids, hidden, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "meaningful"),
    [
        ("a man is playing the guitar on stage", "man is playing guitar stage"),
        ("two dogs run quickly across the green field", "dogs run field"),
        ("people do not sleep", "people sleep"),
        ("the man isn ' t running", "man running"),
        ("a woman ' s hand is slowly cutting bread", "woman hand slowly cutting bread"),
        ("someone has often been seen", "someone often been seen"),
        ("a blue , very small one", ""),
        ("3 & 4 !", ""),
        ("", ""),
    ],
)
def test_nouns_and_verb_phrases_carry_the_meaning(text, meaningful):
    words = text.split()
    assert [words[index] for index in meaningful_words(words)] == meaningful.split()


def test_a_third_of_the_meaningful_words_is_hidden(masker, tokenizer):
    text = "a dog and a cat and a ball and a circle and a square and a triangle play"
    tokens = _tokens(tokenizer, *[text] * 200)
    chosen = _hidden_words(tokenizer, tokens, masker(tokens))
    assert {len(words) for words in chosen} == {2}  # of seven candidates
    meaningful = {"dog", "cat", "ball", "circle", "square", "triangle", "play"}
    assert {word for words in chosen for word in words} == meaningful


def test_at_least_one_meaningful_word_is_hidden_and_no_other(masker, tokenizer):
    tokens = _tokens(tokenizer, *[NAMED] * 100)
    chosen = _hidden_words(tokenizer, tokens, masker(tokens))
    assert sorted({word for words in chosen for word in words}) == ["ball", "dog"]
    assert {len(words) for words in chosen} == {1}


def test_a_text_without_meaningful_words_hides_one_at_random(masker, tokenizer):
    tokens = _tokens(tokenizer, *["the red and green"] * 200)
    chosen = _hidden_words(tokenizer, tokens, masker(tokens))
    assert sorted(word for (word,) in {tuple(words) for words in chosen}) == [
        *("and", "green", "red", "the"),
    ]


def test_a_text_without_words_hides_nothing(masker, tokenizer):
    tokens = _tokens(tokenizer, "", NAMED)
    assert (masker(tokens).labels[0] == IGNORED).all()


def test_the_pieces_of_a_word_are_hidden_together(masker, tokenizer):
    tokens = _tokens(tokenizer, *["the runs and the jumping"] * 50)
    chosen = _hidden_words(tokenizer, tokens, masker(tokens))
    assert {tuple(words) for words in chosen} == {("run", "##s"), ("jump", "##ing")}


def test_hidden_words_are_masked_exchanged_or_kept(masker, tokenizer):
    tokens = _tokens(tokenizer, *[NAMED] * 2000)
    masked = masker(tokens)
    hidden = masked.labels != IGNORED
    ids = masked.tokens.ids[hidden]
    assert (masked.labels[hidden] == tokens.ids[hidden]).all()
    assert (masked.tokens.ids[~hidden] == tokens.ids[~hidden]).all()
    is_masked = ids == tokenizer.token_to_id("[MASK]")
    assert is_masked.float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (ids == tokens.ids[hidden]).float().mean().item() == pytest.approx(0.1, abs=0.03)


def test_a_generator_decides_everything(tokenizer):
    tokens = _tokens(tokenizer, *[NAMED] * 20)
    masker = SemanticMasker(tokenizer)
    answers = []
    for seed in (1, 1, 2):
        masker.generator = torch.Generator().manual_seed(seed)
        answers.append(masker(tokens).tokens.ids)
    assert answers[0].equal(answers[1])
    assert not answers[0].equal(answers[2])


def test_padding_is_never_hidden(masker, tokenizer):
    ids = _tokens(tokenizer, NAMED, "a dog").ids
    tokens = Tokens(ids, ids != 0)
    assert (masker(tokens).labels[~tokens.mask] == IGNORED).all()


def test_maskers_know_the_tokenizer(tokenizer):
    masker = WordMasker.of(tokenizer)
    assert masker.mask_id == tokenizer.token_to_id("[MASK]")
    assert masker.is_special.sum() == 5
    assert masker.is_continuation[tokenizer.token_to_id("##ing")]
    assert not masker.is_continuation[tokenizer.token_to_id("ball")]


def test_a_tokenizer_without_a_mask_cannot_hide():
    with pytest.raises(ValueError, match=r"no token \[MASK\]"):
        WordMasker.of(Tokenizer(models.WordLevel({"a": 0})))
