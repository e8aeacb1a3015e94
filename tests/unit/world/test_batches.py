"""Training batches of the procedural world."""

import numpy as np

from model.world.batches import WorldBatches
from model.world.labels import HAPPENINGS
from model.world.story import SYMMETRIC_EVENTS

WORLD = WorldBatches(seed=3, frame_size=16, frames_per_clip=1, simple_until=0, full_from=1)
SYMMETRIC = [HAPPENINGS.index((event, False)) for event in SYMMETRIC_EVENTS]


def share_symmetric(world, steps):
    happenings = np.concatenate([world(step).clip_facts[:, 0] for step in steps])
    return np.isin(happenings, SYMMETRIC).mean()


def test_equal_numbers_give_equal_batches():
    assert WORLD(7).texts == WORLD(7).texts
    assert WORLD(7).texts != WORLD(8).texts


def test_things_that_run_the_same_backward_are_shown_often_enough():
    assert 0.1 < share_symmetric(WORLD, range(5, 15)) < 0.35


def test_simple_batches_come_first():
    world = WorldBatches(seed=3, frame_size=16, frames_per_clip=1, simple_until=9, full_from=10)
    assert (world(0).clip_facts[:, 5] == 0).mean() > (world(20).clip_facts[:, 5] == 0).mean()
