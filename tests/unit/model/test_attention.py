"""Attention in bfloat16 on a CPU goes its own way; it must come to the same."""

import pytest
import torch

from model.all_in_one.blocks import Attention


@pytest.mark.parametrize("num_queries", [None, 1])
def test_bfloat16_gives_the_values_and_gradients_of_float32(num_queries):
    torch.manual_seed(0)
    attention = Attention(width=32, heads=4, dropout=0.0)
    mask = torch.arange(20) < torch.tensor([[20], [7], [13]])
    tokens = torch.randn(3, 20, 32)
    expected, found = (
        values_and_gradients(attention, tokens, mask[:, None, None], num_queries, is_half=is_half)
        for is_half in (False, True)
    )
    for name, value in expected.items():
        assert (found[name] - value).abs().max() < 0.03 * value.abs().max(), name
        assert found[name].isfinite().all(), name


def values_and_gradients(attention, tokens, mask, num_queries, *, is_half):
    attention.zero_grad(set_to_none=True)
    tokens = tokens.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        out = attention(tokens, mask, num_queries)
    out.float().square().sum().backward()
    return {
        "out": out.detach().float(),
        "tokens": tokens.grad,
        **{name: value.grad for name, value in attention.named_parameters()},
    }
