"""Losses on cases small enough to work out by hand. Parity tests compare them with the field's."""

import math

import pytest
import torch

from model.objectives.contrastive import contrastive_loss
from model.objectives.masked_language import IGNORED, masked_language_loss
from model.objectives.matching import (
    hard_negatives,
    keep_half,
    matching_loss,
    uniform_negatives,
)
from model.objectives.ranking import ranking_loss
from model.objectives.word_patch_alignment import alignment_loss, transport_plan


def test_contrastive_loss_adds_both_directions():
    embeddings = torch.eye(2)
    expected = 2 * math.log(1 + math.exp(-1 / 0.5))
    assert contrastive_loss(embeddings, embeddings, temperature=0.5).item() == pytest.approx(
        expected
    )


def test_matching_loss_prefers_class_one_for_true_pairs():
    right, wrong = torch.tensor([[0.0, 3.0]]), torch.tensor([[3.0, 0.0]])
    assert matching_loss(right, torch.tensor([1])) < matching_loss(wrong, torch.tensor([1]))


def test_hard_negatives_are_wrong_and_the_most_similar():
    similarity = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.9, 0.7], [0.6, 0.1, 0.9]])
    drawn = hard_negatives(similarity, torch.eye(3).bool(), temperature=0.01)
    assert drawn.tolist() == [1, 2, 0]


def test_hard_negatives_need_a_wrong_candidate():
    with pytest.raises(ValueError, match="no wrong candidate"):
        hard_negatives(torch.zeros(2, 2), torch.ones(2, 2).bool(), temperature=1.0)


def test_uniform_negatives_are_wrong_and_equally_likely():
    is_positive = torch.eye(4).bool().repeat_interleave(3000, dim=0)
    drawn = uniform_negatives(is_positive, generator=torch.Generator().manual_seed(0))
    counts = drawn.view(4, 3000)
    for own, row in enumerate(counts):
        shares = row.bincount(minlength=4) / 3000
        assert shares[own] == 0
        assert shares[shares > 0].tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_uniform_negatives_need_a_wrong_candidate():
    with pytest.raises(ValueError, match="no wrong candidate"):
        uniform_negatives(torch.ones(2, 2).bool())


def test_half_of_the_pairs_stay_wherever_they_stand():
    labels = torch.stack([keep_half(5) for _ in range(200)])
    assert (labels.sum(dim=1) == 2).all()
    assert labels.any(dim=0).all()
    assert not labels.all(dim=0).any()


def test_words_that_were_not_hidden_do_not_count():
    logits = torch.randn(2, 3, 5)
    labels = torch.tensor([[IGNORED, 2, IGNORED], [4, IGNORED, IGNORED]])
    hidden = labels != IGNORED
    whole = masked_language_loss(logits, labels)
    torch.testing.assert_close(whole, masked_language_loss(logits[hidden], labels[hidden]))
    assert masked_language_loss(logits, torch.full_like(labels, IGNORED)).item() == 0


def test_ranking_loss_wants_the_first_text_on_top():
    assert ranking_loss(torch.zeros(3, 4)).item() == pytest.approx(math.log(4))
    assert ranking_loss(torch.tensor([[9.0, 0.0, 0.0]])).item() < 0.001


def test_transport_plan_moves_uniform_mass_along_cheap_ways():
    is_word, is_patch = torch.tensor([[True, True, False]]), torch.tensor([[True, True]])
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]])
    plan = transport_plan(cost, is_word=is_word, is_patch=is_patch)[0]
    assert plan[:2].sum(dim=0).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert plan.diagonal().tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert plan[2].tolist() == [0, 0]


def test_alignment_loss_rewards_true_pairs_that_align():
    words = torch.eye(4)[None].repeat(2, 1, 1)
    patches = torch.stack((torch.eye(4), -torch.eye(4)))
    everywhere = torch.ones(2, 4, dtype=torch.bool)
    masks = {"is_word": everywhere, "is_patch": everywhere}
    good = alignment_loss(words, patches, **masks, labels=torch.tensor([1, 0]))
    bad = alignment_loss(words, patches, **masks, labels=torch.tensor([0, 1]))
    assert good < 0 < bad


def test_alignment_of_a_text_without_words_is_zero():
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    everything = torch.ones(1, 4, dtype=torch.bool)
    features = torch.randn(1, 4, 8)
    labels = torch.tensor([1])
    loss = alignment_loss(features, features, is_word=nothing, is_patch=everything, labels=labels)
    assert loss.item() == 0
