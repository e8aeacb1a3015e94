"""A bundle of a Clover gives back what was saved; what does not fit is refused in a sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.bundle import BundleError, load_bundle, load_trainable
from model.bundle_files import CARD, CONFIG, SEALED, digest_file
from model.retrieval import MatcherMissingError, RetrieverMissingError, clips_to_tensor
from tests.factories_clover import (
    CLOVER_PREPROCESSING,
    TINY_CLOVER,
    make_clover_bundle,
    make_tiny_clover,
)

TEXTS = ["A RED circle moves to the left", "dogs", "", "the cat plays with a ball " * 9]
HALF_TOLERANCE = 0.03


@pytest.fixture
def folder(tmp_path):
    return make_clover_bundle(tmp_path / "clover")


def make_clips(frames=4):
    draw = np.random.default_rng(0)
    shape = (frames, 32, 32, 3)
    return clips_to_tensor([draw.integers(0, 256, shape, dtype=np.uint8) for _ in TEXTS])


def _edit_config(folder, section, values):
    config = json.loads((folder / CONFIG).read_text())
    config[section].update(values)
    (folder / CONFIG).write_text(json.dumps(config))
    files = {name: digest_file(folder / name) for name in SEALED}
    (folder / CARD).write_text(json.dumps({"files": files}))


def test_a_loaded_bundle_computes_what_the_network_did(folder):
    loaded, network = load_bundle(folder, precision="float32"), make_tiny_clover()
    tokens, clips = loaded.tokenize(TEXTS), make_clips()
    with torch.inference_mode():
        visual = network.visual_tokens(CLOVER_PREPROCESSING.normalise(clips))
        words = network.text_tokens(tokens.ids, tokens.mask)
        logits = network.match_logits(network.join(words, tokens.mask, visual))
        text, video = network.embed_words(words, tokens.mask), network.embed_visual(visual)
    torch.testing.assert_close(loaded.embed_text(tokens), text, atol=5e-6, rtol=0)
    torch.testing.assert_close(loaded.embed_video(clips), video, atol=5e-6, rtol=0)
    log_odds = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(loaded.match(tokens, clips), log_odds, atol=2e-5, rtol=0)


def test_spec_says_what_the_bundle_holds(folder):
    spec = load_bundle(folder).spec
    assert (spec.family, spec.embedding_dim, spec.frames_per_clip) == ("clover", 32, 4)
    assert (spec.frame_size, spec.resize_short, spec.max_text_tokens) == (32, 38, 16)
    assert spec.has_retriever
    assert spec.has_matcher


def test_half_precision_stays_close_and_answers_in_float32(folder):
    exact, half = (load_bundle(folder, precision=name) for name in ("float32", "bfloat16"))
    tokens, clips = exact.tokenize(TEXTS), make_clips()
    for method, given in (("embed_text", (tokens,)), ("embed_video", (clips,))):
        wanted, found = (getattr(loaded, method)(*given) for loaded in (exact, half))
        assert found.dtype == torch.float32
        assert (wanted - found).abs().max() < HALF_TOLERANCE
        assert found.norm(dim=1) == pytest.approx(1, abs=1e-5)
    assert (exact.match(tokens, clips) - half.match(tokens, clips)).abs().max() < HALF_TOLERANCE


def test_matching_reads_evenly_spaced_frames_of_clips_too_long_to_fuse(tmp_path):
    preprocessing = replace(CLOVER_PREPROCESSING, frames_per_clip=12)
    loaded = load_bundle(
        make_clover_bundle(tmp_path / "long", preprocessing=preprocessing), precision="float32"
    )
    tokens, clips = loaded.tokenize(TEXTS), make_clips(frames=12)
    assert loaded.embed_video(clips).shape == (4, 32)
    picked = clips[:, [1, 4, 7, 10]]  # the middles of four equal parts
    assert (loaded.match(tokens, clips) == loaded.match(tokens, picked)).all()
    assert (loaded.match(tokens, clips) != loaded.match(tokens, clips[:, :4])).any()


def test_what_the_bundle_lacks_is_said(tmp_path):
    heads = {"has_projections": False, "has_joint_heads": False}
    matcher = load_bundle(
        make_clover_bundle(tmp_path / "matcher", dims=replace(TINY_CLOVER, **heads))
    )
    tokens, clips = matcher.tokenize(TEXTS), make_clips()
    assert matcher.match(tokens, clips).shape == (4,)
    with pytest.raises(RetrieverMissingError):
        matcher.embed_text(tokens)
    with pytest.raises(RetrieverMissingError):
        matcher.embed_video(clips)
    heads = {"has_matching_head": False, "has_mlm_head": False}
    retriever = load_bundle(
        make_clover_bundle(tmp_path / "retriever", dims=replace(TINY_CLOVER, **heads))
    )
    assert retriever.embed_video(clips).shape == (4, 32)
    with pytest.raises(MatcherMissingError):
        retriever.match(tokens, clips)


def test_clips_of_another_size_or_type_are_refused(folder):
    loaded, clips = load_bundle(folder), make_clips()
    for wrong in (clips[:, :, :16, :16], clips.float()):
        with pytest.raises(ValueError, match="not uint8 of 32px"):
            loaded.embed_video(wrong)


def test_a_bundle_can_be_trained_further(folder):
    trainable = load_trainable(folder)
    assert trainable.dims == TINY_CLOVER
    assert trainable.preprocessing == CLOVER_PREPROCESSING
    assert len(trainable.tokenizer.encode("dog " * 99).ids) == TINY_CLOVER.max_text_tokens
    trainable.network.embed_video(torch.randn(2, 4, 3, 32, 32)).sum().backward()
    gradients = [parameter.grad for parameter in trainable.network.video.parameters()]
    assert sum(gradient is not None for gradient in gradients) == len(gradients) - 1  # mask token


@pytest.mark.parametrize(("section", "values", "message"), [
    ("dims", {"embed_width": 10**9}, "embed_width 1000000000 is over 1024"),
    ("dims", {"embed_width": "16"}, "embed_width is '16', not a whole number"),
    ("dims", {"depths": [2, 10**9]}, "blocks of the video encoder are over 256"),
    ("dims", {"depths": [1] * 10**5}, "depths of 100000 stages are over 6"),
    ("dims", {"depths": ["2", "1"]}, "not a list of numbers"),
    ("dims", {"depths": 2}, "depths is 2, not a list of numbers"),
    ("dims", {"window": [100, 100, 100]}, "1000000 tokens of a window are over 4096"),
    ("dims", {"window": [2, 4]}, "is not one of time, height and width"),
    ("dims", {"surprise": 1}, "'surprise' is not known"),
    ("dims", {"fusion_depth": 3}, "lacks 'fusion.layers.2"),
    ("dims", {"fusion_depth": 1}, "which the network does not have"),
    ("dims", {"projection": 16}, "has the shape"),
    ("dims", {"vocabulary": 20}, "has more words than the 20"),
    ("dims", {"frame_size": 64}, "frames of 32 px do not fit"),
    ("preprocessing", {"frames_per_clip": 10**9}, "patches are over 1000000"),
    ("preprocessing", {"frame_size": 0}, "cannot crop 0 px"),
])  # fmt: skip
def test_a_configuration_that_fits_nothing_is_refused(folder, section, values, message):
    _edit_config(folder, section, values)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)
