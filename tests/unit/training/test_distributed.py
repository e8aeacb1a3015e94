"""Two real processes train as one would with the same batch."""

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.distributed import Processes
from tests.clover_parity import find_file
from tests.factories_training import batch_of
from tests.training_process import RECIPES, STEPS

REPOSITORY = Path(__file__).parents[3]
WITHIN_S = 900


@pytest.fixture(scope="module")
def together(tmp_path_factory, request):
    """What two processes wrote."""
    out = tmp_path_factory.mktemp("together")
    fixture = find_file(request.config.getoption("--parity-fixtures")) or find_file(
        REPOSITORY / "tests" / "data" / "parity"
    )
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("tests/training_process.py", out, fixture),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, timeout=WITHIN_S, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return out


@pytest.mark.slow
@pytest.mark.timeout(WITHIN_S + 60)
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_report_the_losses_of_one_with_the_same_batch(together, recipe):
    alone = [step.losses for step in islice(RECIPES[recipe]().run(map(batch_of, range(9))), STEPS)]
    for rank in (0, 1):
        found = json.loads((together / f"{recipe}-{rank}.json").read_text())
        for step, (ours, expected) in enumerate(zip(found, alone, strict=True)):
            assert ours == pytest.approx(expected, rel=1e-4, abs=1e-5), (rank, step)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_end_with_the_same_weights_as_each_other_and_as_one(together, recipe):
    first, second = (load_file(together / f"{recipe}-{rank}.safetensors") for rank in (0, 1))
    alone = RECIPES[recipe]()
    list(islice(alone.run(map(batch_of, range(9))), STEPS))
    for name, value in alone.network.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        # Adam divides by the size of a gradient, so that where it is rounding error, so is its step
        assert torch.allclose(first[name], value, rtol=1e-3, atol=1e-4), name


@pytest.mark.slow
def test_gathered_rows_have_the_gradients_of_the_whole_batch(together, request):
    """The official code hands back the local slice, which averaging makes W times too small."""
    path = find_file(request.config.getoption("--parity-fixtures"))
    with np.load(path) as stored:
        for rank in (0, 1):
            with np.load(together / f"gathered-{rank}.npz") as ours:
                prefix = f"fn_dist_rank{rank}"
                published = stored[f"{prefix}_nce"] + stored[f"{prefix}_rank"]
                assert ours["clover/loss"] == pytest.approx(published, rel=1e-9)
                for name in ("v", "t", "tm", "mvm"):
                    local_slice = stored[f"{prefix}_grad_{name}"]
                    # Averaged over two processes, ours is the slice of the true gradient; theirs
                    # is half of it.
                    np.testing.assert_allclose(ours[f"clover/{name}"] / 2, local_slice, atol=1e-9)
                for name in ("v", "t"):
                    local_slice = stored[f"{prefix}_nsl_grad_{name}"]
                    np.testing.assert_allclose(
                        ours[f"fine-tuning/{name}"] / 2, local_slice, atol=1e-9
                    )


@pytest.mark.slow
def test_gradients_are_averaged_and_unused_weights_stay_without(together):
    for rank in (0, 1):
        with np.load(together / f"gathered-{rank}.npz") as found:
            assert found["averaged"].tolist() == [1.0, 2.0, 3.0]
            assert bool(found["unused_is_none"])


def test_rows_are_dealt_evenly_or_not_at_all():
    assert [Processes(rank, 4).own_rows(8) for rank in range(2)] == [slice(0, 2), slice(2, 4)]
    with pytest.raises(ValueError, match="evenly"):
        Processes(0, 3).own_rows(8)
