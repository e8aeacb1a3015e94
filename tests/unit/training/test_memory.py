"""Memory: where it does not suffice, fewer rows go through the network at a time."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from model.all_in_one.embeddings import PatchEmbedding
from model.memory import is_out_of_memory
from model.train import OutOfMemoryError
from tests.factories_training import PLAN, batch_of, clover_training, native_training

STEPS = 3


@pytest.fixture
def most_rows():
    """Let torch refuse memory to passes of more clips than a number that the test may change."""
    limit = {"rows": 8}

    def refuse(module, given):
        if isinstance(module, PatchEmbedding) and len(given[0]) > limit["rows"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    handle = register_module_forward_pre_hook(refuse)
    yield limit
    handle.remove()


def steps_of(training):
    return list(islice(training.run(batch_of(step) for step in range(STEPS)), STEPS))


@pytest.mark.parametrize("start", [native_training, clover_training])
def test_a_step_that_does_not_fit_is_taken_again_by_smaller_parts(most_rows, start):
    expected = steps_of(start(replace(PLAN, micro_batch=2)))
    most_rows["rows"] = 3
    training = start()
    steps = steps_of(training)
    assert [step.micro_batch for step in steps] == [2, 2, 2]
    assert training.micro_batch == 2
    assert [step.losses for step in steps] == [step.losses for step in expected]


def test_memory_that_gets_scarce_halves_the_parts_from_the_same_step_on(most_rows):
    whole = steps_of(native_training())
    training = native_training()
    run = training.run(batch_of(step) for step in range(STEPS))
    first = next(run)
    most_rows["rows"] = 4
    rest = list(islice(run, STEPS - 1))
    assert [first.micro_batch, *(step.micro_batch for step in rest)] == [8, 4, 4]
    for step, expected in zip([first, *rest], whole, strict=True):
        assert step.losses == pytest.approx(expected.losses, rel=1e-3, abs=1e-5)


def test_memory_for_not_even_one_clip_ends_the_run_with_what_to_do(most_rows):
    most_rows["rows"] = 0
    with pytest.raises(OutOfMemoryError, match="step 1: memory does not hold 1 clips"):
        steps_of(native_training())


def test_what_the_system_says_when_memory_is_out_is_understood():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_what_a_large_parent_held_does_not_hide_what_its_child_uses():
    child = (
        "import torch; from model.memory import begin_peak, peak_since; "
        "cpu = torch.device('cpu'); begun = begin_peak(cpu); "
        "held = torch.ones(16_000_000); print(peak_since(cpu, begun))"
    )
    held = bytearray(b"x") * 700_000_000  # more than torch and the child take together

    told = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)

    assert len(held) > int(told.stdout) >= 60_000_000
