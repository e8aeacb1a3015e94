"""Blocks of cells: as many as asked, in one piece or few, the same for the same draws."""

import random

import pytest

from model.tube_masking import tube_masks


@pytest.mark.parametrize(("grid", "cells"), [(7, 10), (4, 3), (14, 40), (2, 1)])
def test_a_fifth_of_a_grid_is_hidden(grid, cells):
    masks = tube_masks(100, grid=grid, draw=random.Random(0))
    assert masks.shape == (100, grid, grid)
    counts = masks.sum(dim=(1, 2))
    assert ((counts > 0) & (counts <= cells)).all()
    assert counts.float().mean().item() == pytest.approx(cells, rel=0.03)


def test_masks_differ_and_reach_every_cell():
    masks = tube_masks(200, draw=random.Random(0))
    assert len(masks.flatten(1).unique(dim=0)) > 150
    assert masks.any(dim=0).all()


def test_hidden_cells_stand_together():
    masks = tube_masks(200, draw=random.Random(0))
    neighbours = (masks[:, 1:] & masks[:, :-1]).sum() + (masks[..., 1:] & masks[..., :-1]).sum()
    # ten scattered cells of 49 would have 84 * (10/49) * (9/48) = 3.2 neighbours, a 3 x 3 block 12
    assert neighbours / len(masks) > 8


def test_the_same_draws_give_the_same_masks():
    first, second = (tube_masks(5, draw=random.Random(7)) for _ in range(2))
    assert first.equal(second)


@pytest.mark.parametrize("cells", [0, 49])
def test_something_is_hidden_and_something_left(cells):
    with pytest.raises(ValueError, match="cannot be hidden of a grid of 7 x 7"):
        tube_masks(1, cells=cells)
