"""What words mean that no caption has: the lexicon, and a tokenizer and a network that use it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from model.adapting import adapt
from model.all_in_one.network import build
from model.bundle import load_bundle, load_trainable, save_bundle
from model.lexicon.fitting import add_pieces, drop_pieces, spread, vectors_of
from model.lexicon.making import DIM, shorten
from model.lexicon.reading import FILE, Lexicon, read_lexicon, write_lexicon
from model.masking import WordMasker
from model.retrieval import Tokens
from tests.factories_training import ALL_IN_ONE, PREPROCESSING, TOKENIZER

FIRST = TOKENIZER.get_vocab_size()
CAPTIONS = ["an automobile stops", "two children play"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("bundle")
    return save(folder, build(ALL_IN_ONE), ALL_IN_ONE, TOKENIZER)


def save(folder, network, dims, tokenizer):
    save_bundle(
        folder,
        network=network,
        dims=dims,
        preprocessing=PREPROCESSING,
        tokenizer_json=tokenizer.to_str(),
        card={"name": "tiny"},
    )
    return folder


def grow(folder, captions=CAPTIONS):
    adapted, _ = adapt(
        load_trainable(folder), captions, needs_joint_heads=False, dropout=0.0, seed=0
    )
    return adapted


def similarity(vectors):
    one, other = vectors
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


@pytest.mark.parametrize(
    ("word", "near", "far"),
    [("automobile", "car", "kitten"), ("creek", "river", "guitar"), ("cats", "kitten", "bridge")],
)
def test_words_of_like_meaning_are_nearer_than_others(word, near, far):
    lexicon = read_lexicon()
    found = similarity(vectors_of([word, near], lexicon))
    assert found > 0.3 + similarity(vectors_of([word, far], lexicon))


def test_common_words_say_less_than_rare_ones():
    the, kitten = np.linalg.norm(vectors_of(["the", "kitten"], read_lexicon()), axis=1)
    assert kitten > 3 * the


def test_a_word_that_the_lexicon_lacks_means_what_its_pieces_mean_and_a_sign_nothing():
    lexicon = read_lexicon()
    whole, skate, board, sign = vectors_of(["skateboard", "skate", "##board", "."], lexicon)
    assert "skateboard" not in lexicon.pieces
    assert np.allclose(whole, skate + board)
    assert not sign.any()


def test_a_lexicon_is_read_as_it_was_written_to_a_part_in_a_hundred(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    write_lexicon(Lexicon(("a", "cat", "##s"), vectors), tmp_path / "few", {"license": "none"})
    read = read_lexicon(tmp_path / "few")
    assert read.pieces == ("a", "cat", "##s")
    assert np.abs(read.vectors - vectors).max() < 0.01 * np.abs(vectors).max()


def test_shortened_vectors_are_as_long_as_their_weights_on_average():
    features = np.random.default_rng(0).standard_normal((400, 150)).astype(np.float32)
    short = shorten(features, np.full(400, 2.0))
    assert short.shape == (400, DIM)
    assert np.linalg.norm(short, axis=1).mean() == pytest.approx(2, rel=1e-3)


def test_turning_keeps_angles_where_there_is_room():
    vectors = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    assert np.allclose(spread(vectors, 16) @ spread(vectors, 16).T, vectors @ vectors.T, atol=1e-4)
    assert spread(vectors, 4).shape == (5, 4)


def test_a_tokenizer_reads_all_words_and_forgets_them_again():
    reading = add_pieces(TOKENIZER, read_lexicon(), first=FIRST)
    ids = reading.encode("a red guitar").ids
    assert ids[:3] == TOKENIZER.encode("a red").ids[:3]
    assert min(ids[3:-1]) >= FIRST
    assert drop_pieces(reading, FIRST).get_vocab() == TOKENIZER.get_vocab()


def test_a_query_in_words_that_no_caption_has_is_near_what_means_the_same(bundle):
    grown = grow(bundle)
    network, tokenizer = grown.network.eval(), grown.tokenizer

    def embed(text):
        ids = torch.tensor([tokenizer.encode(text).ids])
        return network.embed_text(ids, torch.ones_like(ids, dtype=torch.bool))

    asked = embed("vehicles halting")
    right, wrong = (asked @ embed(caption).T for caption in CAPTIONS)
    assert right > wrong


def test_words_of_the_lexicon_alone_are_one_unknown_word_to_the_backbone(bundle):
    grown = grow(bundle)
    words = [grown.tokenizer.token_to_id(word) for word in ("piano", "guitar", "[UNK]")]
    assert words[0] >= grown.dims.vocabulary
    ids = torch.tensor([[2, word, 3] for word in words])
    mask = torch.ones_like(ids, dtype=torch.bool)
    features = grown.network.eval().text_features(ids, mask)
    torch.testing.assert_close(features[0], features[2])  # rows of a batch may round unlike
    tokens = grown.network.text_tokens(ids, mask)
    assert not torch.allclose(tokens[0], tokens[1], atol=0.01)


def test_a_tuned_bundle_is_served_alike_and_keeps_its_lexicon_when_it_is_tuned_again(
    tmp_path, bundle
):
    once = grow(bundle)
    saved = save(tmp_path / "once", once.network, once.dims, once.tokenizer)
    served = load_bundle(saved, precision="float32")
    texts = ["vehicles halting", "two children play"]
    tokens = served.tokenize(texts)
    expected = once.network.eval().embed_text(tokens.ids, tokens.mask)
    assert torch.allclose(served.embed_text(tokens), expected, atol=1e-5)
    twice = grow(saved, ["a guitar"])
    assert twice.dims.vocabulary == once.dims.vocabulary + 1
    assert twice.dims.lexicon == once.dims.lexicon
    assert twice.tokenizer.token_to_id("guitar") == once.dims.vocabulary
    again = [torch.tensor([twice.tokenizer.encode(text).ids]) for text in texts]
    for ids, before in zip(again, expected, strict=True):
        found = twice.network.eval().embed_text(ids, torch.ones_like(ids, dtype=torch.bool))
        assert torch.allclose(found[0], before, atol=1e-5)


def test_no_word_is_hidden_or_drawn_that_the_network_cannot_name(bundle):
    grown = grow(bundle)
    words = grown.dims.vocabulary
    masker = WordMasker.of(grown.tokenizer, words=words)
    assert masker.drawable.max() < words
    ids = torch.tensor([[2, words + 1, 60, words, 3]] * 50)
    hidden = masker(Tokens(ids, torch.ones_like(ids, dtype=torch.bool))).labels
    assert set(hidden.unique().tolist()) == {-100, 60}


def test_a_lexicon_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="lexicon needs projections"):
        replace(ALL_IN_ONE, lexicon=ALL_IN_ONE.vocabulary - 1)
    with pytest.raises(ValueError, match="no row of the word table"):
        replace(ALL_IN_ONE, unknown=ALL_IN_ONE.vocabulary)


def test_the_lexicon_says_where_it_is_from_and_what_may_be_done_with_it():
    with safe_open(FILE, framework="numpy") as stored:
        facts = stored.metadata()
    assert facts["license"] == "Apache-2.0"
    assert "all-MiniLM-L6-v2" in facts["made_from"]
