"""The weights of a published model, under the names that its network has here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.image_text.sizes import Sizes
from model.image_text.towers import POSITIONS, assemble, configure, quietly
from model.importing.checkpoint_file import read_tensors
from model.importing.errors import ImportRefusedError

LISTED = 3
"""So many names are given in a message."""


class Weights(NamedTuple):
    """What was read.

    Attributes:
        state: float32 tensors by name, all that the network has.
        ignored: names in the files that the network does not have.
    """

    state: dict[str, Tensor]
    ignored: list[str]


def read_published_weights(paths: Sequence[Path], sizes: Sizes) -> Weights:
    """Read the weights; old names become those of today.

    Raises:
        ImportRefusedError: a file is damaged, or something is missing or of another shape.
    """
    found: dict[str, Tensor] = {}
    for path in paths:
        found |= read_tensors(path).tensors
    found = {name: tensor for name, tensor in found.items() if not name.endswith(POSITIONS)}
    network = assemble(sizes)
    wanted = sum(tensor.numel() for tensor in network.state_dict().values())
    given = sum(tensor.numel() for tensor in found.values())
    if given < wanted:
        raise ImportRefusedError(
            f"{paths[0]} holds {given:,} numbers, the network of its config.json needs {wanted:,}: "
            "files are missing or cut off."
        )
    return _rename(type(network), sizes, found, paths[0])


def _rename(kind: Any, sizes: Sizes, found: dict[str, Tensor], path: Path) -> Weights:
    """Let `transformers` find each weight its place; it reads no file."""
    try:
        with quietly():
            network, report = kind.from_pretrained(
                None,
                config=configure(sizes),
                state_dict=found,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in the report, and refused below
            )
    except Exception as error:  # of many kinds
        message = f"The weights in {path} do not fit its config.json: {error}."
        raise ImportRefusedError(message) from error
    for key, trouble in (("mismatched_keys", "has other shapes of"), ("missing_keys", "lacks")):
        if names := sorted(name if isinstance(name, str) else name[0] for name in report[key]):
            listed = ", ".join(names[:LISTED])
            raise ImportRefusedError(f"{path} {trouble} {len(names)} of its weights, as {listed}.")
    return Weights(network.state_dict(), sorted(report["unexpected_keys"]))
