"""How fast the passes run, beside what a plain matrix product reaches here.

    python bench/forward.py [--sizes tiny base] [--device cuda] [--batch 8] [--threads 1] [--json]

Multiply-adds are counted by torch, not estimated. The matrix product of the same type is timed
before and after every pass, because the machine may be busy: the share is the median of the
ratios of neighbours. `--clock cpu` counts the time that the process computed instead of the time
that passed, which means most with one thread on a machine that is shared.

`--how` names ways to run: `served` is how a bundle is loaded (matrices stored in the
type, the rest float32), `whole` converts the whole network, `compiled` is that with
`torch.compile`.
"""

import torch
from _passes import SIZES, Inputs, Run, build, count_passes, serving_passes
from _timing import DTYPES, Row, Stopwatch, make_parser, print_rows

from model.all_in_one.precision import store_matrices

WAYS = ("served", "whole", "compiled")
BATCHES = {"cpu": 8, "cuda": 128}


def main() -> None:
    """Print one line per size, type, way and pass."""
    parser = make_parser(__doc__.splitlines()[0], list(SIZES))
    parser.add_argument("--how", nargs="+", choices=WAYS, help="served on a CPU, all on a GPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    stopwatch = Stopwatch(given.device, clock=given.clock, rounds=given.rounds)
    batch = given.batch or BATCHES[given.device]
    ways = given.how or (WAYS if given.device == "cuda" else WAYS[:1])
    rows = [
        row
        for size in given.sizes
        for dtype in given.dtypes
        for how in ways
        for row in bench(stopwatch, size, dtype, how=how, batch=batch)
    ]
    print_rows(rows, given)


def bench(stopwatch: Stopwatch, size: str, dtype: str, *, how: str, batch: int) -> list[Row]:
    """Measure the three serving passes of one size in one type."""
    counted = count_passes(SIZES[size])
    is_half = how == "served" and DTYPES[dtype] is torch.bfloat16
    with (
        torch.inference_mode(),
        torch.autocast(stopwatch.device, torch.bfloat16, enabled=is_half),
    ):
        return [
            stopwatch.row(
                run, size=size, dtype=dtype, how=how, name=name, batch=batch, gmac=counted[name]
            )
            for name, run in make_passes(size, dtype, how, batch, stopwatch.device).items()
        ]


def make_passes(size: str, dtype: str, how: str, batch: int, device: str) -> dict[str, Run]:
    """Return the passes of a network that is ready to run in one of the ways."""
    network = build(SIZES[size]).to(device).eval().requires_grad_(requires_grad=False)
    if how == "served":
        store_matrices(network, DTYPES[dtype])
        return serving_passes(network, Inputs(SIZES[size], batch, device))
    network = network.to(DTYPES[dtype])
    passes = serving_passes(network, Inputs(SIZES[size], batch, device, DTYPES[dtype]))
    return passes if how == "whole" else {name: torch.compile(run) for name, run in passes.items()}


if __name__ == "__main__":
    main()
