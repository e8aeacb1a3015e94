"""Gradients of a batch that may be too large for one pass, and may be spread over processes.

With more than one part, embeddings are first computed without gradients, the contrastive losses of
the whole batch give the gradient of each embedding, and a second run of the network carries it on
(GradCache, arXiv:2101.06983). The sum over parts is the gradient of the batch, not an estimate.
Shapes: B rows, b of a part, E joint space.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.distributed import gather_rows, processes, sum_over_processes
from model.plan import TrainPrecision
from model.recipes.recipe import MEASURES, Passes, Work

EMBEDDING, PAIRING = 0, 1


@dataclass(frozen=True)
class Passing:
    """How parts are sent through the network.

    Attributes:
        device: where the network is.
        precision: type in which matrices are multiplied.
        seed: of the step; with the first row of a part it decides what dropout leaves out.
    """

    device: torch.device
    precision: TrainPrecision
    seed: int

    @contextmanager
    def kernels(self) -> Iterator[None]:
        """Attend by the kernel that is fastest on the device.

        On a CPU the backward pass of fused attention is three times slower than plain matrices at
        these lengths (1.24 s a step against 0.42 s). The backward pass needs the context as well:
        blocks that run again there must run alike.
        """
        if self.device.type != "cpu":
            yield
            return
        with sdpa_kernel(SDPBackend.MATH):
            yield

    @contextmanager
    def low_precision(self) -> Iterator[None]:
        """Multiply matrices in the plan's precision."""
        is_half = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half), self.kernels():
            yield

    def embed(self, work: Work, rows: slice) -> Passes[object]:
        """Send a part through the network; again, it gives the same."""
        self._seed(rows, EMBEDDING)
        return work.embed(rows)

    def pair(self, work: Work, rows: slice, passes: Passes[object]) -> dict[str, Tensor]:
        """Ask about the pairs of a part."""
        self._seed(rows, PAIRING)
        return work.pair(rows, passes)

    def _seed(self, rows: slice, phase: int) -> None:
        torch.manual_seed((self.seed * 1_000_003 + rows.start) * 2 + phase)


def add_gradients(work: Work, parts: Sequence[slice], passing: Passing) -> dict[str, Tensor]:
    """Add the gradients of a step to those of the weights.

    They still have to be averaged over the processes.

    Args:
        work: the step.
        parts: the rows of this process, cut.
        passing: how they are sent through the network.

    Returns:
        the losses of the whole batch, detached.

    Raises:
        FloatingPointError: embeddings are not finite.
    """
    if len(parts) == 1:
        return _add_at_once(work, parts[0], passing)
    return _add_by_parts(work, parts, passing)


def _add_at_once(work: Work, rows: slice, passing: Passing) -> dict[str, Tensor]:
    with passing.low_precision():
        passes = passing.embed(work, rows)
        losses, pulls = _contrast(work, passes.embeddings, passing.device)
        shares = passing.pair(work, rows, passes)
    with passing.kernels():
        _backward(passes.embeddings, pulls, shares)
    return losses | _add_up([shares])


def _add_by_parts(work: Work, parts: Sequence[slice], passing: Passing) -> dict[str, Tensor]:
    seen: list[dict[str, Tensor]] = []
    with torch.no_grad(), passing.low_precision():
        seen = [passing.embed(work, rows).embeddings for rows in parts]
    whole = {name: torch.cat([part[name] for part in seen]) for name in seen[0]}
    losses, pulls = _contrast(work, whole, passing.device)
    shares: list[dict[str, Tensor]] = []
    for rows in parts:
        here = slice(rows.start - parts[0].start, rows.stop - parts[0].start)
        with passing.low_precision():
            passes = passing.embed(work, rows)
            share = passing.pair(work, rows, passes)
        with passing.kernels():
            _backward(passes.embeddings, {name: pull[here] for name, pull in pulls.items()}, share)
        shares.append({name: value.detach() for name, value in share.items()})
    return losses | _add_up(shares)


def _contrast(
    work: Work, embeddings: Mapping[str, Tensor], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses of the whole batch and what they pull this process's embeddings by.

    Raises:
        FloatingPointError: an embedding is not finite; no wrong partner could be drawn by it.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in embeddings.items()}
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        gathered = {name: gather_rows(leaf) for name, leaf in leaves.items()}
        for name, rows in gathered.items():
            if not bool(rows.isfinite().all()):
                raise FloatingPointError(f"embeddings ({name}) are not finite")
        losses = work.contrast(gathered)
    if losses:
        torch.stack(list(losses.values())).sum().backward()
    pulls = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {name: value.detach() for name, value in losses.items()}, pulls


def _backward(
    embeddings: Mapping[str, Tensor], pulls: Mapping[str, Tensor], shares: Mapping[str, Tensor]
) -> None:
    """Carry the pulls and the gradients of a part's shares on to the weights."""
    ends = [embeddings[name] for name in pulls if embeddings[name].requires_grad]
    gradients: list[Tensor | None] = [
        pulls[name] for name in pulls if embeddings[name].requires_grad
    ]
    trained = [value for name, value in shares.items() if name not in MEASURES]
    if trained:
        ends.append(torch.stack(trained).sum() * processes().count)
        gradients.append(None)
    torch.autograd.backward(ends, gradients)


def _add_up(shares: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the losses that the shares of all parts and processes add up to."""
    names = list(shares[0])
    if not names:
        return {}
    own = torch.stack([torch.stack([part[n].detach() for n in names]).float() for part in shares])
    return dict(zip(names, sum_over_processes(own.sum(dim=0)).unbind(), strict=True))
