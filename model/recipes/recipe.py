"""What the training loop asks of a recipe. Shapes: B rows of a batch, b of a part, E joint space.

A step has three phases, so that a large batch can be cut into parts without changing gradients:
`embed` sends a part through the network, `contrast` compares the embeddings of the whole batch,
`pair` asks about the pairs of one part. The loop may call `embed` twice for a part, first without
gradients, and hands `contrast` the rows of all processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from model.data import Batch

Kept = TypeVar("Kept")

MEASURES = frozenset({"right"})
"""Reported beside the losses, not trained: the share of rivals told apart."""


@dataclass(frozen=True)
class Passes(Generic[Kept]):
    """A part of a batch after its passes.

    Attributes:
        embeddings: what `contrast` needs, each float32 (b, E).
        kept: what `pair` needs.
    """

    embeddings: dict[str, Tensor]
    kept: Kept


class Work(Protocol):
    """One step: what is random in it was drawn for the whole batch when it was started."""

    def embed(self, rows: slice) -> Passes[Any]:
        """Send rows of this process through the network."""

    def contrast(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses that compare all rows, by name, scalars.

        Args:
            embeddings: by the names that `embed` gave, each (B, E).
        """

    def pair(self, rows: slice, passes: Passes[Any]) -> dict[str, Tensor]:
        """Return this part's share of the losses that are sums over rows, by name, scalars.

        Added up over the parts of all processes they are the loss of the batch.

        Args:
            rows: of the part.
            passes: what `embed` made of it, with gradients.
        """


class Recipe(Protocol):
    """What a network is trained for.

    Attributes:
        network: what is trained.
        parts: all that learns by name, `network` first; kept when a run is stopped.
    """

    network: nn.Module
    parts: nn.ModuleDict

    def start(self, batch: Batch, step: int, generator: torch.Generator) -> Work:
        """Begin a step.

        Args:
            batch: its rows.
            step: counted from 0.
            generator: where all that is random comes from, alike in every process.
        """


def share(loss: Tensor, ours: int, of_all: int) -> Tensor:
    """Return what a mean over some items adds to the mean over all of them."""
    return loss * (ours / max(1, of_all))
