"""A bundle gives back what was saved, and a damaged one is refused in one sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.all_in_one.precision import choose_dtype
from model.bundle import BundleError, bundle_digest, load_bundle
from model.bundle_files import CARD, CONFIG, SEALED, TOKENIZER, WEIGHTS, digest_file
from model.retrieval import MatcherMissingError, RetrieverMissingError, clips_to_tensor
from tests.factories_model import TINY, TINY_PREPROCESSING, make_tiny_bundle, make_tiny_network

TEXTS = ["A RED circle moves to the left", "dogs", "", "the cat plays with a ball " * 9]
HALF_TOLERANCE = 0.03


@pytest.fixture
def folder(tmp_path):
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def clips():
    draw = np.random.default_rng(0)
    return clips_to_tensor(
        [draw.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8) for _ in range(len(TEXTS))]
    )


def _seal(folder):
    """Write digests that fit the files as they are now."""
    files = {name: digest_file(folder / name) for name in SEALED}
    (folder / CARD).write_text(json.dumps({"files": files}))


def _edit_config(folder, section, **values):
    config = json.loads((folder / CONFIG).read_text())
    config[section].update(values)
    (folder / CONFIG).write_text(json.dumps(config))
    _seal(folder)


def _edit_weights(folder, edit):
    state = load_file(folder / WEIGHTS)
    edit(state)
    save_file(state, folder / WEIGHTS)
    _seal(folder)


def test_a_loaded_bundle_computes_what_the_network_did(folder, clips):
    loaded = load_bundle(folder, precision="float32")
    network = make_tiny_network()
    tokens = loaded.tokenize(TEXTS)
    pixels = TINY_PREPROCESSING.normalise(clips)
    with torch.inference_mode():
        text = network.embed_text(tokens.ids, tokens.mask)
        video = network.embed_video(pixels)
        logits = network.match_logits(network.fused(tokens.ids, tokens.mask, pixels))
    torch.testing.assert_close(loaded.embed_text(tokens), text, atol=2e-6, rtol=0)
    torch.testing.assert_close(loaded.embed_video(clips), video, atol=2e-6, rtol=0)
    log_odds = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(loaded.match(tokens, clips), log_odds, atol=1e-5, rtol=0)


def test_spec_says_what_the_bundle_holds(folder):
    spec = load_bundle(folder).spec
    assert (spec.family, spec.embedding_dim, spec.frames_per_clip) == ("all_in_one", 32, 3)
    assert (spec.frame_size, spec.resize_short, spec.max_text_tokens) == (32, 38, 16)
    assert spec.has_retriever
    assert spec.has_matcher


def test_half_precision_stays_close_and_answers_in_float32(folder, clips):
    exact, half = (load_bundle(folder, precision=name) for name in ("float32", "bfloat16"))
    tokens = exact.tokenize(TEXTS)
    for method, given in (("embed_text", (tokens,)), ("embed_video", (clips,))):
        wanted, found = (getattr(loaded, method)(*given) for loaded in (exact, half))
        assert found.dtype == torch.float32
        assert (wanted - found).abs().max() < HALF_TOLERANCE
        assert found.norm(dim=1) == pytest.approx(1, abs=1e-5)
    assert (exact.match(tokens, clips) - half.match(tokens, clips)).abs().max() < HALF_TOLERANCE


def test_texts_are_lower_cased_cut_and_padded_to_the_longest(folder):
    loaded = load_bundle(folder)
    tokens = loaded.tokenize(TEXTS)
    assert tokens.ids.shape == (4, TINY.max_text_tokens)
    assert tokens.mask.sum(dim=1)[2] == 2  # an empty text is [CLS] [SEP]
    assert loaded.tokenize(["dogs"]).ids.tolist() == loaded.tokenize(["DOGS"]).ids.tolist()
    assert loaded.tokenize(TEXTS[:2]).ids.shape[1] < TINY.max_text_tokens


def test_what_the_bundle_lacks_is_said(tmp_path, clips):
    dims = replace(TINY, has_projections=False)
    matcher = load_bundle(make_tiny_bundle(tmp_path / "matcher", dims=dims))
    tokens = matcher.tokenize(TEXTS)
    assert matcher.match(tokens, clips).shape == (4,)
    with pytest.raises(RetrieverMissingError):
        matcher.embed_text(tokens)
    with pytest.raises(RetrieverMissingError):
        matcher.embed_video(clips)
    dims = replace(TINY, has_matching_head=False, has_mlm_head=False)
    retriever = load_bundle(make_tiny_bundle(tmp_path / "retriever", dims=dims))
    assert retriever.embed_video(clips).shape == (4, 32)
    with pytest.raises(MatcherMissingError):
        retriever.match(tokens, clips)


def test_clips_of_another_size_or_type_are_refused(folder, clips):
    loaded = load_bundle(folder)
    for wrong in (clips[:, :, :16, :16], clips.float()):
        with pytest.raises(ValueError, match="not uint8 of 32px"):
            loaded.embed_video(wrong)


def test_digest_names_the_weights_not_the_folder(tmp_path, folder):
    assert bundle_digest(folder) == bundle_digest(make_tiny_bundle(tmp_path / "again"))
    assert bundle_digest(folder) != bundle_digest(make_tiny_bundle(tmp_path / "other", seed=1))
    assert json.loads((folder / CARD).read_text())["digest"] == bundle_digest(folder)


@pytest.mark.parametrize("name", [*SEALED, CARD])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        load_bundle(folder)


@pytest.mark.parametrize("name", SEALED)
def test_a_file_that_was_changed_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} was changed"):
        load_bundle(folder)


@pytest.mark.parametrize(("section", "values", "message"), [
    ("dims", {"width": 10**9}, "width 1000000000 is over 4096"),
    ("dims", {"width": "64"}, "width is '64', not a whole number"),
    ("dims", {"is_distilled": 1}, "is_distilled is 1, not true or false"),
    ("dims", {"patch": 5}, "not a multiple of 5"),
    ("dims", {"surprise": 1}, "'surprise' is not known"),
    ("dims", {"depth": 3}, "lacks 'transformer.blocks.2"),
    ("dims", {"depth": 1}, "which the network does not have"),
    ("dims", {"projection": 16}, "has the shape"),
    ("dims", {"vocabulary": 20}, "has more words than the 20"),
    ("dims", {"frames": 2}, "clips are longer than the 2 frames"),
    ("dims", {"frame_size": 1024, "patch": 8}, "16384 patches are over"),
    ("preprocessing", {"frame_size": 24}, "frames of 24 px do not fit"),
    ("preprocessing", {"std": [0.1, 0, 0.1]}, "is not positive"),
    ("preprocessing", {"mean": [0.1, 0.2]}, "not that of three channels"),
    ("preprocessing", {"mean": ["a", "b", "c"]}, "not a list of numbers"),
    ("preprocessing", {"resize_short": 8}, "cannot crop 32 px from 8 px"),
    ("preprocessing", {"frames_per_clip": 0}, "is empty"),
])  # fmt: skip
def test_a_configuration_that_does_not_fit_is_refused(folder, section, values, message):
    _edit_config(folder, section, **values)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize(("content", "message"), [
    (b'{"format": 2}', "is of format 2"),
    (b'{"format": 1, "family": "word2vec"}', "names the family 'word2vec'"),
    (b'{"format": 1, "family": "all_in_one"}', "are missing"),
    (b"[1]", "does not hold a JSON object"),
    (b"{", "is not JSON"),
    (b"[" * 100_000, "is not JSON"),
    (b"\xff\xfe", "is not UTF-8"),
])  # fmt: skip
def test_a_configuration_of_another_kind_is_refused(folder, content, message):
    (folder / CONFIG).write_bytes(content)
    _seal(folder)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "its header does not fit"),
    (b"\xff" * 8 + b"{}", "its header does not fit"),
    ((20).to_bytes(8, "little") + b"not a JSON header...", "is not a safetensors file"),
])  # fmt: skip
def test_a_hostile_weights_file_is_refused(folder, content, message):
    (folder / WEIGHTS).write_bytes(content)
    _seal(folder)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_weights_file_that_was_cut_short_is_refused(folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-100])
    _seal(folder)
    with pytest.raises(BundleError, match="is not a safetensors file"):
        load_bundle(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(folder, number):
    _edit_weights(folder, lambda state: state["pooler.dense.bias"].fill_(number))
    with pytest.raises(BundleError, match=r"'pooler.dense.bias' holds numbers that are not finite"):
        load_bundle(folder)


def test_weights_that_are_whole_numbers_are_refused(folder):
    _edit_weights(folder, lambda s: s.update({"pooler.dense.bias": torch.ones(64).long()}))
    with pytest.raises(BundleError, match="not floating-point numbers"):
        load_bundle(folder)


@pytest.mark.parametrize(("content", "message"), [
    ("{}", "is not a tokenizer"),
    (json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0},
     "unk_token": "a"}, "added_tokens": [], "truncation": None, "padding": None, "normalizer": None,
     "pre_tokenizer": None, "post_processor": None, "decoder": None}), r"has no token \[PAD\]"),
])  # fmt: skip
def test_a_tokenizer_that_does_not_fit_is_refused(folder, content, message):
    (folder / TOKENIZER).write_text(content)
    _seal(folder)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_half_precision_is_chosen_by_measurement():
    sizes = {"width": 64, "heads": 1, "mlp_width": 256}
    first = choose_dtype(**sizes, device="cpu")
    assert first in (torch.float32, torch.bfloat16)
    assert choose_dtype(**sizes, device="cpu") is first  # once a process
    assert choose_dtype(**sizes, device="cuda:0") is torch.bfloat16


def test_the_weight_of_the_similarity_is_kept(tmp_path):
    spec = load_bundle(make_tiny_bundle(tmp_path / "weighted", similarity_weight=7.5)).spec
    assert spec.rerank_score(similarity=0.2, log_odds=1.0) == pytest.approx(2.5)


@pytest.mark.parametrize("weight", [-1.0, "many", None, float("nan")])
def test_a_weight_that_is_none_is_refused(folder, weight):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"similarity_weight": weight}))
    _seal(folder)
    with pytest.raises(BundleError, match="similarity_weight"):
        load_bundle(folder)
