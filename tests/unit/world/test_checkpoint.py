"""The recipe of the bundled checkpoint, with few steps: stages hand over, and runs go on."""

from dataclasses import replace

import pytest

from model.bundle import load_bundle
from model.world import checkpoint, stages
from model.world.checkpoint import dims_of, resume, train
from model.world.stages import COARSE, DIMS, STAGES, WORLD
from model.world.stills import StillBatches


@pytest.fixture
def few_steps(monkeypatch):
    """Leave three stages of one step each: coarse patches, fine ones, fine ones with stills."""
    stills = StillBatches(seed=1, frame_size=64, stills=8, asked=4)
    few = [STAGES[0], STAGES[-1], replace(STAGES[-1], clips_every=5, stills=stills)]
    short = tuple(
        replace(stage, plan=replace(stage.plan, steps=number, until=None))
        for number, stage in enumerate(few, start=1)
    )
    monkeypatch.setattr(checkpoint, "STAGES", short)
    monkeypatch.setattr(stages, "WORLD", replace(WORLD, families=2))


@pytest.mark.usefixtures("few_steps")
def test_a_run_that_was_stopped_goes_on_with_finer_patches(tmp_path):
    assert dims_of(train(until=1, work=tmp_path)) == COARSE
    assert dims_of(resume(tmp_path)) == COARSE
    assert load_bundle(tmp_path / "bundle").spec.frame_size == COARSE.frame_size
    training = train(until=3, work=tmp_path)
    assert (training.step, dims_of(training)) == (3, DIMS)
    assert dims_of(resume(tmp_path)) == DIMS


def test_stages_come_in_turn_and_the_last_ones_have_fine_patches():
    ends = [stage.plan.end for stage in STAGES]
    assert ends == sorted(set(ends))
    patches = [stage.dims.patch for stage in STAGES]
    assert patches == sorted(patches, reverse=True)
    assert STAGES[-1].dims == DIMS


def test_every_stage_is_cooled_down_by_its_own_end():
    last = STAGES[-1].plan
    assert last.learning_rate_at(last.steps - 1) < last.learning_rate / 100
