"""How fast one training step runs: forward, backward and AdamW, beside a plain matrix product.

    python bench/training_step.py [--sizes tiny base] [--device cuda] [--batch 4] [--compile]

The step learns the contrastive objective from the dual stream and the matching objective from
the fused pass, of every pair once each; weights are float32, `bf16` is autocast. Multiply-adds
of forward and backward are counted by torch; those of AdamW are nothing beside them.
"""

import torch
from _passes import SIZES, Inputs, build, count_passes, make_step, training_loss
from _timing import DTYPES, Row, Stopwatch, make_parser, print_rows
from torch.nn.attention import SDPBackend, sdpa_kernel

BATCHES = {"cpu": 4, "cuda": 64}
KERNELS = {
    # On a CPU the backward pass of plain products is faster than that of torch's kernel.
    "cpu": [SDPBackend.MATH],
    "cuda": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
}


def main() -> None:
    """Print one line per size and type."""
    parser = make_parser(__doc__.splitlines()[0], list(SIZES))
    parser.add_argument("--compile", action="store_true", help="let torch.compile fuse the step")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    stopwatch = Stopwatch(given.device, clock=given.clock, rounds=given.rounds)
    batch = given.batch or BATCHES[given.device]
    rows = [
        bench(stopwatch, size, dtype, batch=batch, is_compiled=given.compile)
        for size in given.sizes
        for dtype in given.dtypes
    ]
    print_rows(rows, given)


def bench(stopwatch: Stopwatch, size: str, dtype: str, *, batch: int, is_compiled: bool) -> Row:
    """Measure the training step of one size in one type."""
    device, dims = stopwatch.device, SIZES[size]
    network = build(dims).to(device).train()
    loss_of = torch.compile(training_loss) if is_compiled else training_loss
    is_half = DTYPES[dtype] is torch.bfloat16
    step = make_step(network, Inputs(dims, batch, device), loss_of, is_half=is_half)
    with sdpa_kernel(KERNELS[device]):
        return stopwatch.row(
            step,
            size=size,
            dtype=dtype,
            how="compiled" if is_compiled else "autocast" if is_half else "plain",
            name="train",
            batch=batch,
            gmac=count_passes(dims)["train"],
        )


if __name__ == "__main__":
    main()
