"""Which tokens move between frames, and that nothing else does."""

import pytest
import torch

from model.all_in_one.token_rolling import roll_tokens_, spread_order

TEXT_TOKENS, IMAGE_TOKENS, COUNT = 2, 9, 2


def _rolled(num_frames):
    """Roll tokens whose values name their frame and slot: frame * 100 + slot."""
    slots = torch.arange(TEXT_TOKENS + IMAGE_TOKENS)
    tokens = (torch.arange(num_frames)[:, None] * 100 + slots)[None, ..., None].float()
    roll_tokens_(tokens, start=TEXT_TOKENS, count=COUNT)
    return tokens[0, ..., 0].long()


def test_the_first_patches_come_from_the_frame_before_and_the_last_from_the_one_after():
    rolled = _rolled(3)
    frames = rolled // 100
    assert (rolled % 100 == torch.arange(TEXT_TOKENS + IMAGE_TOKENS)).all()  # slots are kept
    assert frames[1].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1, 2, 2]
    assert frames[0].tolist() == [0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 1]  # the ends are joined


def test_one_frame_is_left_alone():
    assert (_rolled(1) == torch.arange(TEXT_TOKENS + IMAGE_TOKENS)).all()


def test_ranges_that_overlap_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        roll_tokens_(torch.zeros(1, 2, 9, 4), start=0, count=5)


def test_gradients_flow_back_to_the_frame_that_a_token_came_from():
    leaf = torch.zeros(1, 3, 9, 1, requires_grad=True)
    tokens = leaf * 1
    roll_tokens_(tokens, start=0, count=2)
    tokens[0, 1].sum().backward()  # what frame 1 sees
    assert leaf.grad[0, :, :, 0].tolist() == [
        [0, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize("grid", [1, 4, 7, 8, 14])
def test_spread_order_is_a_permutation(grid):
    order = spread_order(grid=grid, count=grid * grid // 8)
    assert sorted(order.tolist()) == list(range(grid * grid))


@pytest.mark.parametrize("grid", [8, 14])
def test_in_spread_order_the_patches_that_roll_cover_the_frame(grid):
    count = grid * grid // 8
    order = spread_order(grid=grid, count=count)
    for rolled in (order[:count], order[-count:]):
        quadrants = (rolled // grid >= grid / 2) * 2 + (rolled % grid >= grid / 2)
        assert quadrants.bincount(minlength=4).min() >= count // 8
