"""One loop for pretraining and tuning: any network, any recipe, one process or several.

Shapes: B rows of a batch, b of this process.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.data import Batch
from model.distributed import average_gradients, processes, share_weights
from model.gradients import Passing, add_gradients
from model.memory import give_back, is_out_of_memory
from model.plan import Plan
from model.recipes.recipe import Recipe
from model.recompute import recompute_blocks
from model.weight_groups import parameter_groups

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)

BETAS = (0.9, 0.98)
STEP_SEEDS = 1_000_003
"""Seeds of a plan are so far apart that no two of their steps meet."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class OutOfMemoryError(TrainingError):
    """Memory does not suffice.

    Attributes:
        rows: that did not fit.
    """

    def __init__(self, message: str, rows: int) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        number: counted from 1.
        learning_rate: that it used.
        losses: by objective, of the whole batch; `right` is the share of rivals told apart.
        gradient_norm: before it was scaled down.
        wait_s: how long the step waited for its batch, seconds.
        duration_s: how long it took, the waiting included, seconds.
        micro_batch: rows that went through the network at a time.
    """

    number: int
    learning_rate: float
    losses: dict[str, float] = field(default_factory=dict)
    gradient_norm: float = 0.0
    wait_s: float = 0.0
    duration_s: float = 0.0
    micro_batch: int = 0


class Training(Generic[AnyRecipe]):
    """A run that can be stopped after any step and continued as if it had not been.

    What is random in a step depends on the plan's seed and the step's number alone, so nothing
    but weights and moments has to be kept. Started by `torchrun`, every process holds the same
    weights and its own rows of each batch.

    Where memory does not suffice for a step, `micro_batch` is halved and the step is taken again:
    the gradients are the same up to rounding and dropout's draws.

    Args:
        recipe: what is trained, and for what; in place. Weights that need no gradient stay.
        plan: how.
    """

    def __init__(self, *, recipe: AnyRecipe, plan: Plan) -> None:
        self.recipe = recipe
        self.plan = plan
        self.micro_batch = plan.micro_batch
        self.step = 0
        self.wait_s = 0.0
        self.duration_s = 0.0
        self.device = next(self.network.parameters()).device
        if plan.recomputes_blocks:
            recompute_blocks(self.network)
        share_weights(recipe.parts)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            parameter_groups(recipe.parts, plan.weight_decay, plan.text_rate),
            lr=plan.learning_rate,
            betas=BETAS,
            fused=True,
        )

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        return self.recipe.network

    @property
    def wait_share(self) -> float:
        """Share of the time so far that was spent waiting for data, from 0 to 1."""
        return self.wait_s / self.duration_s if self.duration_s else 0.0

    def run(self, batches: Iterable[Batch]) -> Iterator[Step]:
        """Train on batches, one a step, and report each step.

        Args:
            batches: the first is that of step `self.step`.

        Raises:
            TrainingError: embeddings or gradients are not finite any more.
        """
        self.recipe.parts.train()
        source = iter(batches)
        while self.step < self.plan.end:
            started_s = time.perf_counter()
            batch = next(source, None)
            if batch is None:
                return
            wait_s = time.perf_counter() - started_s
            yield self._take(batch, started_s, wait_s)

    def _take(self, batch: Batch, started_s: float, wait_s: float) -> Step:
        rate = self.plan.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        losses = self._add_gradients(batch)
        norm = self._descend()
        self._keep_average()
        self.step += 1
        reported = {name: value.item() for name, value in losses.items()}
        duration_s = time.perf_counter() - started_s
        self.wait_s += wait_s
        self.duration_s += duration_s
        rows = min(self.micro_batch or len(batch.clips), len(batch.clips))
        return Step(self.step, rate, reported, norm, wait_s, duration_s, rows)

    def _add_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradients of a step, by parts that fit into memory, and return its losses."""
        while True:
            parts = self._parts(batch)
            try:
                return self._add_by(parts, batch)
            except FloatingPointError as error:
                raise self._lost(str(error)) from error
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # here, where the error and the tensors of its frames are gone
            self._halve(parts[0].stop - parts[0].start)

    def _add_by(self, parts: list[slice], batch: Batch) -> dict[str, Tensor]:
        seed = self.plan.seed * STEP_SEEDS + self.step
        work = self.recipe.start(batch, self.step, torch.Generator().manual_seed(seed))
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            return add_gradients(work, parts, Passing(self.device, self.plan.precision, seed))

    def _halve(self, rows: int) -> None:
        """Go on with smaller parts, if one process alone can decide that."""
        self.optimizer.zero_grad(set_to_none=True)
        give_back(self.device)
        if rows == 1 or processes().count > 1:
            raise OutOfMemoryError(
                f"step {self.step + 1}: memory does not hold {rows} clips at a time; free some, "
                "let blocks be recomputed, or tune a smaller model",
                rows,
            )
        self.micro_batch = rows // 2

    def _parts(self, batch: Batch) -> list[slice]:
        """Cut this process's rows into parts that fit."""
        own = batch.own_rows
        size = self.micro_batch or len(batch.clips)
        return [slice(at, min(at + size, own.stop)) for at in range(own.start, own.stop, size)]

    def _descend(self) -> float:
        """Move the weights along the gradients and return the norm of these."""
        average_gradients(self.recipe.parts.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.largest_gradient)
        if not bool(norm.isfinite()):
            raise self._lost("gradients are not finite")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def _lost(self, what: str) -> TrainingError:
        return TrainingError(f"step {self.step + 1}: {what}; try a smaller learning rate")

    @torch.no_grad()
    def _keep_average(self) -> None:
        past = min(self.plan.average, (self.step + 1) / (self.step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - past)

    # --- stop and continue

    def save(self, path: Path) -> None:
        """Write everything that continuing needs."""
        state = {f"average/{name}": value for name, value in self.average.items()}
        for part, module in self.recipe.parts.items():
            state |= {f"{part}/{name}": value for name, value in module.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        state["step"] = torch.tensor(self.step)
        partial = path.with_suffix(".partial")
        save_file({name: value.detach().contiguous() for name, value in state.items()}, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue where `save` left off."""
        state = load_file(path, device=str(self.device))
        self.step = int(state["step"])
        for part, module in self.recipe.parts.items():
            module.load_state_dict(_below(state, f"{part}/"))
        self.average = _below(state, "average/")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(state, "optimizer/").items():
            index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = value
        settings = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**settings, "state": moments})


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
