"""Which patches attend to each other, checked one pair of patches at a time."""

from itertools import product
from math import prod

import pytest
import torch

from model.clover.windows import APART, cut_windows

WINDOW = (2, 4, 4)
SIZES = {
    "whole windows": (4, 8, 8),
    "padding": (3, 5, 6),
    "smaller than a window": (1, 3, 2),
    "as long as a window": (2, 4, 9),
}
CPU = torch.device("cpu")


def plan(size, *, is_shifted=True, batch=2, cuts_bias_index=False):
    return cut_windows(
        batch=batch,
        size=size,
        window=WINDOW,
        is_shifted=is_shifted,
        cuts_bias_index=cuts_bias_index,
        device=CPU,
    )


def places_of(size, batch):
    """Return the number and place of each patch, as features (B, M, 4), and 1 for patches."""
    places = torch.tensor(list(product(*map(range, size))))
    return torch.stack(
        [torch.cat((torch.full((len(places), 1), index + 1), places), 1) for index in range(batch)]
    )


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_joining_undoes_cutting(size, is_shifted):
    tokens = torch.randn(3, prod(size), 5)
    windows = plan(size, is_shifted=is_shifted, batch=3)
    assert (windows.join(windows.cut(tokens)) == tokens).all()


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_patches_attend_to_those_of_their_clip_and_window(size, is_shifted):
    windows = plan(size, is_shifted=is_shifted)
    cut = windows.cut(places_of(size, 2))  # (W B, N, 4)
    assert sum(group.count for group in windows.groups) == len(cut)
    apart = torch.cat(
        [
            (torch.zeros(1) if group.apart is None else group.apart).expand(
                group.count, windows.length, windows.length
            )
            for group in windows.groups
        ]
    )
    found = set()
    for rows, scores in zip(cut.tolist(), apart, strict=True):
        for i, j in (scores == 0).nonzero().tolist():
            if rows[i][0] and rows[j][0]:
                found.add((tuple(rows[i]), tuple(rows[j])))
        assert set(scores.unique().tolist()) <= {0.0, APART}
    assert found == set(_neighbours(size, is_shifted=is_shifted))


def _neighbours(size, *, is_shifted):
    """Say from the definition which patches share a window: the same cell along every axis."""
    places = list(product(*map(range, size)))
    for clip, one, other in product((1, 2), places, places):
        cells = [
            _cell(place, axis, size[axis], is_shifted=is_shifted)
            for axis in range(3)
            for place in (one[axis], other[axis])
        ]
        if cells[::2] == cells[1::2]:
            yield (clip, *one), (clip, *other)


def _cell(place, axis, side, *, is_shifted):
    if side <= WINDOW[axis]:
        return 0
    shift = WINDOW[axis] // 2 if is_shifted else 0
    return (place - shift) // WINDOW[axis]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_a_bias_belongs_to_an_offset(size):
    windows = plan(size, batch=1)
    places = list(
        product(*(range(min(side, most)) for side, most in zip(size, WINDOW, strict=True)))
    )
    index = windows.bias_index.view(windows.length, windows.length)
    full = [2 * side - 1 for side in WINDOW]
    for (i, one), (j, other) in product(enumerate(places), enumerate(places)):
        time, row, column = (
            a - b + side - 1 for a, b, side in zip(one, other, WINDOW, strict=True)
        )
        assert index[i, j] == (time * full[1] + row) * full[2] + column


def test_the_published_numbering_differs_only_where_a_window_is_smaller_in_space():
    for name, size in SIZES.items():
        ours, theirs = (plan(size, cuts_bias_index=cuts).bias_index for cuts in (False, True))
        assert (ours == theirs).all() == (name != "smaller than a window")


@pytest.mark.parametrize("size", [(4, 8, 8), (3, 5, 6)], ids=["whole windows", "padding"])
def test_gradients_go_back_to_where_they_came_from(size):
    windows = plan(size, batch=1)
    tokens = torch.randn(1, prod(size), 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: windows.join(windows.cut(given) ** 2), tokens)


def test_a_plan_made_for_inference_serves_in_training():
    with torch.inference_mode():
        plan((4, 12, 12), batch=1)
    tokens = torch.randn(1, 4 * 12 * 12, 2, requires_grad=True)
    windows = plan((4, 12, 12), batch=1)
    table = torch.randn(300, 1, requires_grad=True)
    bias = torch.nn.functional.embedding(windows.bias_index, table)
    (windows.cut(tokens).sum() + bias.sum()).backward()
    assert tokens.grad is not None
    assert table.grad is not None
