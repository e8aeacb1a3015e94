"""One model finds, another re-ranks."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.bundle import BundleError, bundle_digest, load_bundle, load_trainable
from model.bundle_files import (
    CARD,
    CONFIG,
    SEALED,
    combine,
    digest_file,
    open_bundle,
    write_json,
)
from model.calibration import write_calibration
from model.composite import CompositeRetriever, TokensOfBoth, adapt_clips
from model.image_text.adding import add_model
from model.importing.errors import ImportRefusedError
from model.retrieval import Calibration, clips_to_tensor
from tests.factories_image_text import save_clip
from tests.factories_model import TINY, make_tiny_bundle

TEXTS = ["a dog runs in the snow", "a red circle", "two cats"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("composite")
    save_clip(folder / "hub")
    make_tiny_bundle(folder / "matcher", dims=replace(TINY, has_projections=False))
    add_model(str(folder / "hub"), folder / "bundle", frames=5, matcher=folder / "matcher")
    add_model(str(folder / "hub"), folder / "alone", frames=5)
    return folder


@pytest.fixture(scope="module")
def composite(folders):
    return load_bundle(folders / "bundle", precision="float32")


@pytest.fixture
def changed(folders, tmp_path):
    return shutil.copytree(folders / "bundle", tmp_path / "changed")


def noise_clips(count=3, frames=5, side=32):
    noise = np.random.default_rng(0)
    return clips_to_tensor([noise.integers(0, 256, (frames, side, side, 3), np.uint8)] * count)


def test_the_retriever_embeds_and_the_matcher_matches(folders, composite):
    alone = load_bundle(folders / "alone", precision="float32")
    matcher = load_bundle(folders / "matcher", precision="float32")
    clips = noise_clips()

    assert composite.spec == replace(alone.spec, has_matcher=True)
    tokens = composite.tokenize(TEXTS)
    torch.testing.assert_close(
        composite.embed_text(tokens), alone.embed_text(alone.tokenize(TEXTS)), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        composite.embed_video(clips), alone.embed_video(clips), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        composite.match(tokens, clips),
        matcher.match(matcher.tokenize(TEXTS), adapt_clips(clips, alone.spec, matcher.spec)),
        rtol=0,
        atol=1e-6,
    )


def test_the_two_are_not_trained_as_one(folders):
    with pytest.raises(BundleError, match="train the latter by itself"):
        load_trainable(folders / "bundle")


def test_hits_are_ordered_by_the_sum_of_both_in_log_odds(composite):
    scale = 1 / 0.07  # of a new CLIP

    score = composite.spec.rerank_score(similarity=0.3, log_odds=2.0)

    assert score == pytest.approx(2.0 + 0.3 * scale, rel=1e-3)


def test_the_calibration_of_a_matcher_does_not_hold_for_both(folders, tmp_path):
    matcher = shutil.copytree(folders / "matcher", tmp_path / "matcher")
    write_calibration(matcher, Calibration(slope=2.0, bias=1.0))
    add_model(str(folders / "hub"), tmp_path / "both", frames=5, matcher=matcher)
    assert not load_bundle(tmp_path / "both").spec.is_calibrated


def test_both_can_be_calibrated_as_one(changed):
    digest = write_calibration(changed, Calibration(slope=0.5, bias=-1.0))
    spec = load_bundle(changed).spec
    assert (spec.is_calibrated, spec.match_slope, spec.has_matcher) == (True, 0.5, True)
    assert digest == bundle_digest(changed)


def test_some_of_the_texts_are_some_of_both(composite):
    tokens = composite.tokenize(TEXTS)

    some = tokens[1:]

    assert isinstance(some, TokensOfBoth)
    assert some.ids.tolist() == tokens.ids[1:].tolist()
    assert some.for_matcher.ids.tolist() == tokens.for_matcher.ids[1:].tolist()


def test_tokens_of_another_model_are_refused(folders, composite):
    alone = load_bundle(folders / "alone", precision="float32")

    with pytest.raises(TypeError, match="tokenize"):
        composite.match(alone.tokenize(TEXTS), noise_clips())


def test_the_matcher_sees_the_centre_that_it_would_have_cut_itself(composite):
    retriever = replace(composite.spec, frame_size=100, resize_short=100, frames_per_clip=2)
    matcher = replace(retriever, frame_size=40, resize_short=50, fit="crop", resample="bilinear")
    clips = torch.zeros(1, 2, 100, 100, 3, dtype=torch.uint8)
    clips[:, :, 10:90, 10:90] = 255  # the centre of 40 out of 50

    seen = adapt_clips(clips, retriever, matcher)

    assert seen.shape == (1, 2, 40, 40, 3)
    assert seen.min() == 255


def test_a_matcher_of_whole_frames_gets_whole_frames(composite):
    retriever = replace(composite.spec, frame_size=32, resize_short=32, frames_per_clip=5)
    clips = noise_clips(1)

    seen = adapt_clips(clips, retriever, replace(retriever, fit="squash"))

    assert torch.equal(seen, clips)


@pytest.mark.parametrize(
    ("count", "picked"),
    [(5, [0, 1, 2, 3, 4]), (3, [0, 2, 4]), (1, [2]), (8, [0, 0, 1, 2, 2, 3, 4, 4])],
)
def test_frames_are_picked_evenly(composite, count, picked):
    spec = replace(composite.spec, frames_per_clip=5)
    clips = torch.arange(5, dtype=torch.uint8)[None, :, None, None, None].expand(1, 5, 32, 32, 3)

    seen = adapt_clips(clips, spec, replace(spec, frames_per_clip=count))

    assert seen[0, :, 0, 0, 0].tolist() == picked


def test_the_digest_names_the_matcher_too(folders, changed):
    config = open_bundle(changed).config
    assert config["matcher_digest"] == bundle_digest(folders / "matcher")
    assert bundle_digest(folders / "bundle") != bundle_digest(folders / "alone")

    shutil.rmtree(changed / "matcher")
    make_tiny_bundle(changed / "matcher", seed=1)

    with pytest.raises(BundleError, match="its digest is not that"):
        load_bundle(changed)


def test_a_matcher_that_is_gone_is_missed(changed):
    shutil.rmtree(changed / "matcher")

    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(changed)


@pytest.mark.parametrize("name", ["../matcher", "/matcher", "other", 7, ["matcher"]])
def test_a_matcher_elsewhere_is_not_looked_for(tmp_path, name):
    folder = make_tiny_bundle(tmp_path / "bundle")
    parts = open_bundle(folder)
    _seal(folder, parts.config | {"matcher": name})

    with pytest.raises(BundleError, match="names the matcher"):
        load_bundle(folder)


def test_any_retriever_can_have_a_matcher(tmp_path):
    retriever = load_bundle(
        make_tiny_bundle(tmp_path / "one", dims=replace(TINY, has_matching_head=False))
    )
    both = CompositeRetriever(retriever, load_bundle(make_tiny_bundle(tmp_path / "two")))

    assert both.match(both.tokenize(TEXTS), noise_clips(frames=3)).shape == (3,)


def test_both_must_be_able_to_do_their_part(tmp_path):
    whole = load_bundle(make_tiny_bundle(tmp_path / "whole"))
    blind = load_bundle(make_tiny_bundle(tmp_path / "a", dims=replace(TINY, has_projections=False)))
    mute = load_bundle(
        make_tiny_bundle(tmp_path / "b", dims=replace(TINY, has_matching_head=False))
    )

    with pytest.raises(BundleError, match="no joint space"):
        CompositeRetriever(blind, whole)
    with pytest.raises(BundleError, match="no fused pass"):
        CompositeRetriever(whole, mute)


def test_a_matcher_that_cannot_match_is_refused_and_leaves_nothing(folders, tmp_path):
    mute = make_tiny_bundle(tmp_path / "mute", dims=replace(TINY, has_matching_head=False))
    for matcher in (mute, folders / "bundle", tmp_path / "nowhere"):
        with pytest.raises(ImportRefusedError):
            add_model(str(folders / "hub"), tmp_path / "out" / "bundle", matcher=matcher)

    assert list((tmp_path / "out").iterdir()) == []


def _seal(folder, config):
    """Write a bundle's configuration anew, with a card that fits it."""
    write_json(folder / CONFIG, config)
    digests = {name: digest_file(folder / name) for name in SEALED}
    write_json(folder / CARD, {"digest": combine(digests), "files": digests})
