"""Recipes on either family: they learn, and parts of a batch give the gradients of the whole."""

from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch

from model.gradients import Passing
from model.plan import Plan
from model.recipes.clover import CloverObjectives
from model.recipes.native import NativeObjectives
from model.recipes.partners import choose_partners
from model.train import TrainingError
from tests.factories_training import PLAN, batch_of, clover_training, native_training

RUNS = {
    "native, hard": native_training,
    "native, uniform": partial(
        native_training, objectives=NativeObjectives(negatives="uniform", ranking_weight=1.0)
    ),
    "native, close": partial(native_training, objectives=NativeObjectives(closeness_weight=1.0)),
    "clover objectives": clover_training,
    "clover objectives, fewer passes": partial(
        clover_training, objectives=CloverObjectives(passes="no_masked_video")
    ),
    "clover": partial(clover_training, family="clover"),
    "native on long patience": partial(
        native_training,
        objectives=NativeObjectives(contrast_weight=0.0, negatives="uniform"),
    ),
}
NATIVE = {"contrast", "matching", "alignment", "masked", "ranking"}
CLOVER = {"align_video", "align_text", "rank_text", "rank_video", "masked", "matching"}
LOSSES = {
    "native, hard": NATIVE,
    "native, uniform": NATIVE,
    "native, close": NATIVE - {"ranking"} | {"closeness"},
    "clover objectives": CLOVER,
    "clover objectives, fewer passes": CLOVER - {"rank_video"},
    "clover": CLOVER,
    "native on long patience": {"matching", "alignment", "masked"},
}


def steps_of(training, count, **plan):
    training.plan = replace(training.plan, **plan)
    return list(islice(training.run(map(batch_of, range(training.step, 99))), count))


def gradients_of(training, **plan):
    """Return the gradients of the first step by the name of the weight, and its losses."""
    kept = {}
    network = training.network

    def keep():
        kept.update(
            {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        )

    training.optimizer.register_step_pre_hook(lambda *_: keep())
    (step,) = steps_of(training, 1, largest_gradient=1e9, **plan)
    return kept, step.losses


@pytest.mark.parametrize("run", RUNS)
def test_every_objective_of_a_recipe_is_reported_and_finite(run):
    (step,) = steps_of(RUNS[run](), 1)
    assert set(step.losses) == LOSSES[run]
    assert np.isfinite(list(step.losses.values())).all()
    assert step.gradient_norm > 0
    assert 0 <= step.wait_s <= step.duration_s


@pytest.mark.parametrize("run", RUNS)
def test_a_batch_in_parts_has_the_losses_and_gradients_of_the_whole(run):
    whole, losses = gradients_of(RUNS[run]())
    parts, losses_by_parts = gradients_of(RUNS[run](), micro_batch=3)
    assert losses_by_parts == pytest.approx(losses, rel=1e-5, abs=1e-6)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        assert ((parts[name] - gradient).abs().max() / scale).item() < 1e-4, name


def test_dropout_is_drawn_again_alike_in_the_second_run_of_a_part():
    """Were it not, the embeddings that were compared would not be those that learn."""
    training = native_training(dropout=0.3)
    training.network.train()
    work = training.recipe.start(batch_of(0), 0, torch.Generator().manual_seed(0))
    passing = Passing(training.device, "float32", 7)
    with torch.no_grad():
        first = passing.embed(work, slice(2, 5)).embeddings
    again = passing.embed(work, slice(2, 5)).embeddings
    other = passing.embed(work, slice(3, 6)).embeddings
    assert torch.equal(first["videos"], again["videos"])
    assert not torch.equal(first["texts"][1:], other["texts"][:2])


@pytest.mark.parametrize("run", ["native, hard", "clover objectives", "clover"])
def test_recomputed_blocks_change_no_gradient(run):
    kept, _ = gradients_of(RUNS[run](replace(PLAN, micro_batch=4), dropout=0.2))
    again, _ = gradients_of(
        RUNS[run](replace(PLAN, micro_batch=4, recomputes_blocks=True), dropout=0.2)
    )
    for name, gradient in kept.items():
        assert torch.allclose(gradient, again[name], rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("run", ["native, hard", "clover objectives", "clover"])
def test_a_stopped_run_ends_with_the_same_bits(run, tmp_path):
    plan = replace(PLAN, schedule="cosine", floor=0.1, micro_batch=3, precision="bfloat16")
    whole = RUNS[run](plan, dropout=0.1)
    steps_of(whole, 6)
    stopped = RUNS[run](plan, dropout=0.1)
    steps_of(stopped, 3)
    stopped.save(tmp_path / "run.safetensors")
    torch.manual_seed(99)  # nothing may depend on what was drawn elsewhere
    continued = RUNS[run](plan, dropout=0.1)
    continued.load(tmp_path / "run.safetensors")
    steps_of(continued, 3)
    assert continued.step == whole.step == 6
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, continued.network.state_dict()[name]), name
        assert torch.equal(whole.average[name], continued.average[name]), name


@pytest.mark.parametrize("run", ["native, hard", "clover objectives", "clover"])
def test_one_batch_can_be_learned_by_heart(run):
    training = RUNS[run](Plan(steps=20, learning_rate=3e-3, warmup_steps=3, precision="float32"))
    losses = [sum(step.losses.values()) for step in training.run([batch_of(0)] * 20)]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_training_stops_when_gradients_are_not_finite():
    training = native_training()
    with torch.no_grad():
        training.network.vid_proj.weight[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="step 1"):
        steps_of(training, 1)


def test_a_batch_of_one_pair_is_refused():
    training = native_training()
    with pytest.raises(ValueError, match="at least two pairs"):
        list(training.run([batch_of(0, count=1)]))


def test_half_of_the_clips_keep_their_text_and_the_rest_get_a_wrong_one():
    generator = torch.Generator().manual_seed(0)
    found = choose_partners(
        torch.eye(9, dtype=torch.bool), None, negatives="uniform", others=0, generator=generator
    )
    assert found.texts.shape == (9, 1)
    assert int(found.is_true.sum()) == 4


def test_hard_partners_are_wrong_and_alike():
    similarity = torch.zeros(6, 6)
    similarity[torch.arange(6), (torch.arange(6) + 2) % 6] = 1.0
    found = choose_partners(
        torch.eye(6, dtype=torch.bool),
        similarity,
        negatives="hard",
        others=2,
        generator=torch.Generator().manual_seed(0),
    )
    assert found.texts.shape == (6, 4)
    assert found.is_true[:, 0].all()
    assert not found.is_true[:, 1:].any()
    assert (found.texts[:, 1] == (torch.arange(6) + 2) % 6).sum() >= 5


def test_a_cosine_falls_to_its_floor():
    plan = Plan(steps=100, learning_rate=1.0, warmup_steps=10, schedule="cosine", floor=0.1)
    rates = [plan.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("start", [native_training, clover_training])
def test_a_batch_whose_captions_say_the_same_of_all_clips_does_not_end_the_run(start):
    batch = batch_of(0)
    batch = replace(
        batch, texts=batch.texts[:1] * 8, is_true=torch.ones(8, 8, dtype=torch.bool),
        tokens=batch.tokens[torch.zeros(8, dtype=torch.long)],
    )  # fmt: skip
    (step,) = start().run([batch])
    assert all(np.isfinite(list(step.losses.values())))
