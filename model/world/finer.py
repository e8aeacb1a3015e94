"""Let a network with finer patches, or more words, take over what another one has learned."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from model.all_in_one.network import AllInOne

FILTERS = "transformer.patch_embed.proj.weight"
PLACES = "transformer.pos_embed"


@torch.no_grad()
def take_over(network: AllInOne, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network, in place; filters, places and tables of words are fitted.

    Finer filters see the same at half the size, so what a filter answered to is at first found
    in things half as large; some hundred steps mend that.

    Args:
        network: takes over; rows of words that the other network lacks keep their values.
        weights: of a network of the same width and depth.
    """
    fitted = network.state_dict()
    for name, value in weights.items():
        own = fitted[name]
        if name == FILTERS:
            own.copy_(_smaller(value, own.shape[-1]))
        elif name == PLACES:
            own.copy_(_denser(value, own.shape[1]))
        else:
            own[: len(value)].copy_(value)


def _smaller(filters: Tensor, side: int) -> Tensor:
    """Shrink filters (C, 3, p, p) to a side, so that a flat patch gives the same."""
    shrunk = functional.interpolate(filters, size=(side, side), mode="area")
    return shrunk * (filters.shape[-1] / side) ** 2


def _denser(places: Tensor, count: int) -> Tensor:
    """Interpolate a table of places (1, 1 + N, C), special one first, to `count` rows."""
    special, patches = places[:, :1], places[:, 1:]
    before, after = round(patches.shape[1] ** 0.5), round((count - 1) ** 0.5)
    grid = patches.unflatten(1, (before, before)).permute(0, 3, 1, 2)  # (1, C, g, g)
    grid = functional.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
    return torch.cat((special, grid.flatten(2).transpose(1, 2)), dim=1)
