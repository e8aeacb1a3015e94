"""Fit tensors of others to a network of ours: its sizes, positions, and what they lack."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from model.clover.bundle import check_dims
from model.clover.dims import CloverDims
from model.clover.foreign import Foreign, Shapes
from model.clover.initialisation import POSITION_STD
from model.clover.network import assemble, build
from model.importing.errors import ImportRefusedError
from model.importing.report import Report

TIME = "multimodal_backbone.vis_tempor_pos"


def fit(sizes: dict[str, Any]) -> tuple[CloverDims, Shapes]:
    """Return the sizes of a network and the shapes of its tensors.

    Raises:
        ImportRefusedError: the sizes do not fit together, or are too large.
    """
    try:
        dims = CloverDims(**sizes)
        check_dims(dims, "its sizes")
    except ValueError as error:
        raise ImportRefusedError(f"No network can be built of it: {error}.") from error
    with torch.device("meta"):
        network = assemble(dims)
    return dims, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def below(wanted: Shapes, *beginnings: str) -> Shapes:
    """Return the shapes of the tensors whose names begin so."""
    return {name: shape for name, shape in wanted.items() if name.startswith(beginnings)}


def cut_positions(foreign: Foreign, name: str, dims: CloverDims) -> None:
    """Keep the positions that texts can reach."""
    table = foreign.tensors[name]
    if len(table) > dims.max_text_tokens:
        foreign.tensors[name] = table[: dims.max_text_tokens]
        foreign.report.notes.append(
            f"Of the {len(table)} positions of texts the first {dims.max_text_tokens} were kept: "
            "the longest text."
        )


def add_steps(foreign: Foreign, dims: CloverDims, seed: int) -> None:
    """Draw positions in time for clips that are longer than those that were fused in training."""
    table = foreign.tensors[TIME]
    missing = dims.steps - table.shape[1]
    if missing <= 0:
        return
    generator = torch.Generator().manual_seed(seed)
    shape = (1, missing, 1, table.shape[3])
    drawn = POSITION_STD * torch.randn(shape, generator=generator)
    foreign.tensors[TIME] = torch.cat((table, drawn), dim=1)
    foreign.report.notes.append(
        f"The file has positions for {table.shape[1]} steps in time; those of {missing} more were "
        "drawn, to be trained."
    )


def complete(
    state: dict[str, Tensor], wanted: Shapes, dims: CloverDims, report: Report, seed: int
) -> dict[str, Tensor]:
    """Draw what no file has: a network of one block a stage has all that may be missing."""
    shallow = replace(
        dims,
        depths=(1,) * len(dims.depths),
        text_depth=1,
        fusion_depth=1,
        vocabulary=1,
        has_mlm_head=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build(shallow).state_dict()
    made = {name: fresh[name] for name in wanted if name not in state}
    report.made.update(dict.fromkeys(made, "drawn: no file has it"))
    return {**state, **made}
