"""One of several processes that train together; `torchrun` starts it, a test reads what it wrote.

torchrun --standalone --nproc-per-node 2 tests/training_process.py OUT CLOVER_FIXTURE
"""

import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from model.distributed import average_gradients, gather_rows, joined
from model.objectives.contrastive import contrastive_loss
from model.objectives.pairwise import pairwise_ranking_loss
from model.objectives.tri_modal import exclusive_nce, unit
from tests.factories_training import PLAN, batch_of, clover_training, native_training

RECIPES = {"native": native_training, "clover": clover_training}
STEPS = 3


def main() -> None:
    """Train both recipes and gather rows of the published example."""
    torch.set_num_threads(1)
    out, fixture = Path(sys.argv[1]), Path(sys.argv[2])
    with joined(torch.device("cpu")) as processes:
        for name, start in RECIPES.items():
            # Seeds differ: all must go on with the weights of the first.
            training = start(replace(PLAN, micro_batch=2), seed=processes.rank)
            rows = processes.own_rows(8)
            batches = (batch_of(step, rows=rows) for step in range(STEPS))
            losses = [step.losses for step in islice(training.run(batches), STEPS)]
            (out / f"{name}-{processes.rank}.json").write_text(json.dumps(losses))
            save_file(training.network.state_dict(), out / f"{name}-{processes.rank}.safetensors")
        gradients = gathered_gradients(fixture, processes.rank)
        np.savez(out / f"gathered-{processes.rank}.npz", **gradients)


def gathered_gradients(fixture: Path, rank: int) -> dict[str, np.ndarray]:
    """Return the gradients of the published example's local rows, averaged over processes.

    They are those of a weight that stands for each row: what DistributedDataParallel would give.
    """
    with np.load(fixture) as stored:
        rows = {
            name: torch.nn.Parameter(torch.from_numpy(stored[f"fn_dist_rank{rank}_in_{name}"]))
            for name in ("v", "t", "tm", "mvm")
        }
    found = {}
    for loss_name in ("clover", "fine-tuning"):
        whole = {name: gather_rows(part) for name, part in rows.items()}
        v, t, tm, mvm = (whole[name] for name in ("v", "t", "tm", "mvm"))
        if loss_name == "clover":
            loss = exclusive_nce(v, t, tm, mvm) + pairwise_ranking_loss(v, t, tm)
        else:
            loss = contrastive_loss(unit(t), unit(v))
        loss.backward()
        found[f"{loss_name}/loss"] = loss.detach().numpy()
        for name, part in rows.items():
            if part.grad is not None:
                found[f"{loss_name}/{name}"] = part.grad.numpy().copy()
                part.grad = None
    shared = torch.nn.Parameter(torch.ones(3))
    unused = torch.nn.Parameter(torch.ones(3))
    if rank == 0:
        shared.grad = torch.tensor([2.0, 4.0, 6.0])
    average_gradients([shared, unused])
    found["averaged"] = shared.grad.numpy()
    found["unused_is_none"] = np.array(unused.grad is None)
    return found


if __name__ == "__main__":
    main()
