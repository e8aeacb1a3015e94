"""Clover's objectives beyond the published numbers: what they want, and what may be left out."""

import math

import pytest
import torch
from torch.nn import functional

from model.objectives.clover import CloverWeights, TriModal, clover_losses
from model.objectives.focal import focal_masked_language_loss
from model.objectives.masked_language import IGNORED, masked_language_loss
from model.objectives.pairwise import pairwise_ranking_loss
from model.objectives.tri_modal import exclusive_nce

SIX = ("video", "text", "masked_text", "joint_video", "joint_text", "masked_video")


@pytest.fixture
def embeddings():
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(5, 16, generator=draw) for name in SIX}


def test_one_kind_of_answer_is_plain_contrast(embeddings):
    anchor, positive = embeddings["video"], embeddings["text"]
    scores = functional.normalize(anchor) @ functional.normalize(positive).T / 0.1
    own = torch.arange(5)
    expected = functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)
    torch.testing.assert_close(exclusive_nce(anchor, positive, temperature=0.1), expected)


def test_right_answers_do_not_compete_with_each_other():
    anchors = torch.eye(4)
    once = exclusive_nce(anchors, anchors, temperature=0.5)
    thrice = exclusive_nce(anchors, anchors, anchors, anchors, temperature=0.5)
    alone, together = (math.log(1 + wrong * math.exp(-2)) for wrong in (3, 9))
    # each of the three has the nine answers of others against it, its two siblings have no say
    assert once.item() == pytest.approx(2 * alone)
    assert thrice.item() == pytest.approx(3 * together + alone)


def test_an_anchor_needs_an_answer(embeddings):
    with pytest.raises(ValueError, match="at least one"):
        exclusive_nce(embeddings["video"])


def test_a_batch_of_one_has_nothing_to_tell_apart():
    row = torch.randn(1, 8, requires_grad=True)
    loss = exclusive_nce(row, row + 1, row - 1)
    loss.backward()
    assert loss.item() == 0
    assert (row.grad == 0).all()


def test_large_scores_stay_finite():
    anchors = torch.eye(4).requires_grad_()
    loss = exclusive_nce(anchors, -torch.eye(4), temperature=1e-4)
    loss.backward()
    assert loss.item() == pytest.approx(2e4, rel=1e-3)
    assert anchors.grad.isfinite().all()


def test_ranking_asks_for_a_margin():
    anchor = torch.tensor([[1.0, 0.0]])
    near, far = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert pairwise_ranking_loss(anchor, near, far).item() == 0
    assert pairwise_ranking_loss(anchor, near, near).item() == 5
    assert pairwise_ranking_loss(anchor, far, near, temperature=0.5, margin=1).item() == 3


def test_without_masked_clips_what_is_asked_of_them_is_left_out(embeddings):
    whole = clover_losses(TriModal(**embeddings))
    del embeddings["masked_video"]
    part = clover_losses(TriModal(**embeddings))
    assert sorted(whole) == ["align_text", "align_video", "rank_text", "rank_video"]
    assert sorted(part) == ["align_text", "align_video", "rank_text"]
    for name in ("align_video", "rank_text"):
        assert part[name] == whole[name]
    expected = exclusive_nce(*(embeddings[name] for name in ("text", "video", "joint_text")))
    assert part["align_text"] == expected


def test_weights_scale_alignment_and_ranking(embeddings):
    plain = clover_losses(TriModal(**embeddings))
    weighted = clover_losses(
        TriModal(**embeddings), weights=CloverWeights(alignment=1 / 32, ranking=2)
    )
    for name, loss in plain.items():
        factor = 2 if name.startswith("rank") else 1 / 32
        torch.testing.assert_close(weighted[name], factor * loss)


def test_half_precision_around_the_losses_changes_nothing(embeddings):
    expected = clover_losses(TriModal(**embeddings))
    with torch.autocast("cpu", torch.bfloat16):
        assert clover_losses(TriModal(**embeddings)) == expected


def test_half_precision_embeddings_are_compared_in_full(embeddings):
    half = {name: value.bfloat16() for name, value in embeddings.items()}
    losses = clover_losses(TriModal(**half))
    exact = clover_losses(TriModal(**{name: value.float() for name, value in half.items()}))
    assert losses == exact
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


def test_focal_loss_without_focus_is_plain_cross_entropy():
    logits = torch.randn(2, 3, 7)
    labels = torch.tensor([[IGNORED, 2, 6], [IGNORED, IGNORED, 0]])
    plain = masked_language_loss(logits, labels)
    torch.testing.assert_close(focal_masked_language_loss(logits, labels, focus=0), plain)
    assert focal_masked_language_loss(logits, labels) < plain


def test_focal_loss_forgets_words_that_are_known():
    logits = torch.tensor([[30.0, 0.0], [0.0, 0.0]], requires_grad=True)
    focal_masked_language_loss(logits, torch.tensor([0, 0])).backward()
    assert (logits.grad[0] == 0).all()
    assert logits.grad[1, 0] < 0


def test_focal_loss_of_texts_without_hidden_words_is_zero():
    logits = torch.randn(2, 4, requires_grad=True)
    loss = focal_masked_language_loss(logits, torch.full((2,), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()
