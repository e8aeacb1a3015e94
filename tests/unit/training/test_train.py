"""Training: it learns, and a run that was stopped goes on as if it had not been."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from model.all_in_one.dims import Dims
from model.all_in_one.network import build
from model.data import Batch, collate, pad, prefetch, trim
from model.masking import WordMasker
from model.objectives.checking import Checker
from model.objectives.contrastive import contrastive_loss, group_contrastive_loss
from model.objectives.naming import UNKNOWN, Namer
from model.plan import Plan
from model.preprocessing import Preprocessing
from model.recipes.world import WorldRecipe
from model.recipes.world_objectives import WorldObjectives
from model.rivals import choose_rivals
from model.train import Training
from model.world.batches import WorldBatches
from model.world.labels import NUM_CLASSES, WEIGHTS
from model.world.preparation import prepare
from model.world.vocabulary import MASK, SPECIAL, make_tokenizer

TOKENIZER: Tokenizer = make_tokenizer(40)
DIMS = Dims(
    width=32,
    depth=2,
    heads=2,
    patch=16,
    frame_size=32,
    frames=4,
    max_text_tokens=40,
    vocabulary=TOKENIZER.get_vocab_size(),
    projection=32,
    roll_share=2,
)
PREPROCESSING = Preprocessing(resize_short=32, frame_size=32, frames_per_clip=4)
WORLD = WorldBatches(seed=3, frame_size=32, frames_per_clip=4, families=3)
PLAN = Plan(steps=6, warmup_steps=2, cooldown_steps=2)
OBJECTIVES = WorldObjectives(rivals=3, masked_texts=4)


def start(plan: Plan = PLAN, objectives: WorldObjectives = OBJECTIVES) -> Training[WorldRecipe]:
    torch.manual_seed(0)
    network = build(DIMS)
    prepare(network, seed=1)
    torch.manual_seed(2)
    namer = Namer(width=DIMS.projection, num_classes=NUM_CLASSES, weights=WEIGHTS)
    masker = WordMasker(
        mask_id=MASK,
        special_ids=list(range(len(SPECIAL))),
        is_continuation=torch.zeros(DIMS.vocabulary, dtype=torch.bool),
    )
    checker = Checker(width=DIMS.width, num_facts=len(NUM_CLASSES))
    recipe = WorldRecipe(
        network=network, namer=namer, checker=checker, masker=masker, objectives=objectives
    )
    return Training(recipe=recipe, plan=plan)


def batches(first: int = 0) -> list[Batch]:
    steps = range(first, PLAN.steps)
    return [collate(WORLD(step), TOKENIZER, preprocessing=PREPROCESSING) for step in steps]


def test_a_stopped_run_goes_on_with_the_same_losses(tmp_path):
    whole = [step.losses for step in start().run(batches())]
    stopped = start()
    first = [step.losses for step in islice(stopped.run(batches()), 3)]
    stopped.save(tmp_path / "run.safetensors")
    continued = start()
    continued.load(tmp_path / "run.safetensors")
    rest = [step.losses for step in continued.run(batches(continued.step))]
    assert first + rest == whole


def test_every_objective_is_trained():
    (step,) = islice(start().run(batches()), 1)
    assert set(step.losses) == {
        "contrast", "group", "named_clips", "named_texts",
        "matching", "ranking", "masked", "right",
    }  # fmt: skip
    assert all(np.isfinite(list(step.losses.values())))


def test_one_batch_can_be_learned_by_heart():
    plan = replace(PLAN, steps=40, learning_rate=3e-3, cooldown_steps=0)
    losses = [step.losses for step in start(plan).run(batches()[:1] * plan.steps)]
    assert losses[-1]["contrast"] < losses[0]["contrast"] / 2
    assert losses[-1]["named_clips"] < losses[0]["named_clips"] / 2


def test_the_fused_pass_waits_for_its_turn():
    objectives = replace(OBJECTIVES, fused_from=1, checking_weight=1.0)
    first, second = islice(start(objectives=objectives).run(batches()), 2)
    assert "matching" not in first.losses
    assert {"matching", "checked"} <= set(second.losses)


def test_the_dual_stream_may_rest_while_the_fused_pass_learns():
    training = start(objectives=replace(OBJECTIVES, contrast_every=2))
    first, second = islice(training.run(batches()), 2)
    assert "contrast" in first.losses
    assert "contrast" not in second.losses
    training.recipe.objectives = replace(training.recipe.objectives, masked_texts=0)
    before = {name: value.clone() for name, value in training.network.named_parameters()}
    training.optimizer.state.clear()
    training.step = 1
    (_,) = islice(training.run(batches(1)), 1)
    moved = {n for n, value in training.network.named_parameters() if (value != before[n]).any()}
    assert {"itm_score.fc.weight", "transformer.blocks.0.attn.qkv.weight"} <= moved


def test_the_average_of_the_weights_lags_behind_them():
    training = start()
    before = {name: value.clone() for name, value in training.average.items()}
    list(training.run(batches()))
    name = "vid_proj.weight"
    moved = training.average[name] - before[name]
    ahead = training.network.state_dict()[name] - training.average[name]
    assert moved.abs().max() > 0
    assert ahead.abs().max() > 0


def test_the_learning_rate_rises_stays_and_falls():
    plan = Plan(steps=100, learning_rate=1.0, warmup_steps=10, cooldown_steps=20)
    rates = [plan.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == [1.0] * 72
    assert rates[-1] == pytest.approx(0.05)


def test_rivals_are_never_true_of_each_other():
    batch = batches()[0]
    torch.manual_seed(0)
    similarity = torch.rand(12, 12)
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        ours, theirs = choose_rivals(batch, similarity, OBJECTIVES, generator)
        assert len(ours) == OBJECTIVES.rivals
        assert not batch.is_true[ours, theirs].any()
        assert not batch.is_true[theirs, ours].any()


def test_contrast_within_groups_ignores_the_other_groups():
    torch.manual_seed(0)
    texts, videos = (torch.nn.functional.normalize(torch.randn(6, 8), dim=1) for _ in range(2))
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    loss = group_contrastive_loss(texts, videos, groups, temperature=0.1)
    parts = [
        contrastive_loss(texts[s], videos[s], temperature=0.1) for s in (slice(3), slice(3, 6))
    ]
    assert loss == pytest.approx(sum(parts).item() / 2, rel=1e-5)


def test_facts_that_a_text_leaves_out_are_not_asked_of_it():
    namer = Namer(width=4, num_classes=(3, 2), weights=(1.0, 1.0))
    unit = torch.nn.functional.normalize(torch.randn(2, 4), dim=1)
    assert namer(unit, torch.full((2, 2), UNKNOWN)) == 0


def test_batches_made_elsewhere_are_those_made_here():
    made = prefetch(WORLD, first=2, ahead=1)
    batch = next(made)
    made.close()
    expected = WORLD(2)
    assert np.array_equal(batch.clips, expected.clips)
    assert batch.texts == expected.texts


def test_padding_is_cut_to_the_longest_text():
    tokens = pad([[2, 9, 3], [2, 3]])
    assert tokens.ids.tolist() == [[2, 9, 3], [2, 3, 0]]
    assert trim(tokens[1:]).ids.tolist() == [[2, 3]]


def test_checking_asks_only_for_what_the_text_tells():
    checker = Checker(width=4, num_facts=2)
    torch.nn.init.zeros_(checker.score.weight)
    with torch.no_grad():
        checker.score.bias.copy_(torch.tensor([9.0, 0.0]))  # the first fact is told rightly
    pooled, shown = torch.zeros(2, 4), torch.tensor([[1, 1], [2, 1]])
    right = checker(pooled[:1], torch.tensor([[1, UNKNOWN]]), shown[:1])
    wrong = checker(pooled[1:], torch.tensor([[1, UNKNOWN]]), shown[1:])
    assert right < 0.01
    assert wrong > 5


def test_a_plan_may_hand_over_before_its_end():
    training = start(replace(PLAN, until=2))
    assert [step.number for step in training.run(batches())] == [1, 2]
    training.plan = PLAN
    assert [step.number for step in training.run(batches(2))] == [3, 4, 5, 6]
