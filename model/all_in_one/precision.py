"""Whether bfloat16 pays on this machine: measured once a process, never believed."""

import time
from functools import cache

import torch
from torch import nn

from model.all_in_one.blocks import Block

WORTHWHILE = 1.1
"""bfloat16 loses digits, so it has to be this many times as fast."""
ROUNDS = 3
TOKENS = 197
"""Length of the sequence that is timed, that of a published frame."""
BATCH = 2


def choose_dtype(*, width: int, heads: int, mlp_width: int, device: str) -> torch.dtype:
    """Return the type in which the matrices of a network are multiplied fastest.

    Args:
        width: feature width C.
        heads: attention heads of a block.
        mlp_width: hidden width of a block's MLP.
        device: where the network runs; bfloat16 is taken for granted on CUDA.
    """
    if device.startswith("cuda"):
        return torch.bfloat16
    gain = _measure_gain(width, heads, mlp_width)
    return torch.bfloat16 if gain >= WORTHWHILE else torch.float32


def store_matrices(network: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of linear layers in `dtype`, so that autocast need not convert them."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.to(dtype)


@cache
def _measure_gain(width: int, heads: int, mlp_width: int) -> float:
    """Time one block in both types, turn by turn, and return how much faster bfloat16 is."""
    sizes = {"width": width, "heads": heads, "mlp_width": mlp_width}
    blocks = {
        dtype: Block(**sizes, dropout=0.0, drop_path=0.0).eval()
        for dtype in (torch.float32, torch.bfloat16)
    }
    store_matrices(blocks[torch.bfloat16], torch.bfloat16)
    tokens = torch.randn(BATCH, TOKENS, width)
    best = dict.fromkeys(blocks, float("inf"))
    for _ in range(ROUNDS):
        for dtype, block in blocks.items():
            is_half = dtype is torch.bfloat16
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                start = time.perf_counter()
                block(tokens)
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]
