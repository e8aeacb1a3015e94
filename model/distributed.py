"""Several processes that train one network. In a single process every function does nothing.

Each process computes the loss of the whole batch from all rows, or `count` times its own share of
a loss that is a sum over rows; gradients are then averaged. So the mean of the processes' losses is
the loss of the batch, and the mean of their gradients is its gradient. Shapes: W processes, b rows
of one of them, B = W b rows in all.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

PATIENCE = timedelta(days=1)
"""How long processes wait for the first one, which may have many videos to check."""
BUCKET = 25_000_000
"""Numbers that are sent at once, 100 MB: large enough to be fast, small beside the network."""


@dataclass(frozen=True)
class Processes:
    """Which process this is.

    Attributes:
        rank: from 0; the first one writes and prints.
        count: W.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def own_rows(self, total: int) -> slice:
        """Return the rows of a batch that this process sends through the network.

        Raises:
            ValueError: they cannot be dealt out evenly.
        """
        if total % self.count:
            raise ValueError(f"{total} rows cannot be dealt to {self.count} processes evenly")
        share = total // self.count
        return slice(self.rank * share, (self.rank + 1) * share)


def started_processes() -> Processes:
    """Return which of how many processes `torchrun` started this is, joined or not."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Processes()
    return Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def local_device(kind: str) -> torch.device:
    """Return the device of this process: of several on one machine, each has its own GPU."""
    if kind != "cuda" or started_processes().count == 1:
        return torch.device(kind)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, if it did; leave them at the end.

    Args:
        device: where the network is: `nccl` carries CUDA tensors, `gloo` those of the CPU.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes()
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield processes()
    finally:
        distributed.destroy_process_group()


def processes() -> Processes:
    """Return which of how many processes this is."""
    if not _are_joined():
        return Processes()
    return Processes(distributed.get_rank(), distributed.get_world_size())


class _GatherRows(torch.autograd.Function):
    """Rows of all processes. The gradient of a row is the sum of what all processes ask of it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Return the rows of all processes in the order of their ranks, (B, ...)."""
        ctx.share = len(rows)
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient of this process's rows, (b, ...)."""
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        first = distributed.get_rank() * ctx.share
        return total[first : first + ctx.share]


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all processes, (B, ...), with gradients that are right.

    If every process computes the same loss of all rows and gradients are averaged afterwards (as
    DistributedDataParallel does), the result is the gradient of one process with the whole batch.
    Clover's official code hands back the local slice only, without the sum; averaged, its
    contrastive gradients come out W times too small beside those of its other losses.

    Args:
        rows: of this process, as many as every other has, (b, ...).
    """
    if not _are_joined():
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over the processes.

    A parameter that no process has a gradient of stays without one, as in a single process.
    """
    if not _are_joined():
        return
    ordered = list(parameters)
    device = ordered[0].device
    used = torch.tensor([float(p.grad is not None) for p in ordered], device=device)
    distributed.all_reduce(used)
    mine = [p for p, is_used in zip(ordered, used.tolist(), strict=True) if is_used]
    for parameter in mine:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets(mine):
        _average(bucket)


def _average(bucket: list[nn.Parameter]) -> None:
    gradients = [p.grad for p in bucket if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(p.numel() for p in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


@torch.no_grad()
def sum_over_processes(value: Tensor) -> Tensor:
    """Return the sum of a value over the processes."""
    if not _are_joined():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total


def is_any(*, flag: bool, device: torch.device) -> bool:
    """Tell whether the flag is up in any process; all must ask."""
    return are_any([flag], device)[0]


def are_any(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Tell of each flag whether it is up in any process; all must ask."""
    if not _are_joined():
        return list(flags)
    total = sum_over_processes(torch.tensor([float(flag) for flag in flags], device=device))
    return [bool(value > 0) for value in total]


@torch.no_grad()
def share_weights(module: nn.Module) -> None:
    """Give all processes the weights of the first."""
    if _are_joined():
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)


def share_object(value: Any) -> Any:
    """Return what the first process has; a barrier as well."""
    if not _are_joined():
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def _are_joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()
