"""How fast the passes of All-in-One run, beside what a plain matrix product reaches here.

    python bench/forward.py [--sizes tiny base] [--batch 8] [--threads 1] [--clock cpu] [--json]

Multiply-adds are counted by torch, not estimated. The matrix product of the same type is timed
before and after every pass, because the machine may be busy: the share is the median of the
ratios of neighbours. `--clock cpu` counts the time that the process computed instead of the time
that passed, which means most with one thread on a machine that is shared.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.all_in_one.dims import BASE, SMALL, TINY, Dims
from model.all_in_one.network import AllInOne, build
from model.all_in_one.precision import store_matrices

SIZES = {"tiny": TINY, "small": SMALL, "base": BASE}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
YARDSTICK = 2048
GIGA = 1e9
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Row:
    """One pass, measured.

    Attributes:
        gmac: multiply-adds of the whole batch, in thousand millions.
        milliseconds: median time of the batch.
        gmac_per_s: multiply-adds per second.
        matmul_gmac_per_s: what the matrix product beside it reached.
        share: of the matrix product's speed, median of neighbours.
    """

    size: str
    dtype: str
    name: str
    batch: int
    gmac: float
    milliseconds: float
    gmac_per_s: float
    matmul_gmac_per_s: float
    share: float


def passes_of(network: AllInOne, dims: Dims, batch: int) -> dict[str, Run]:
    """Return the passes that serving and ingest run, on random input of full length."""
    device = network.pooler.dense.weight.device
    ids = torch.ones(batch, dims.max_text_tokens, dtype=torch.long, device=device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    side = dims.frame_size
    frames = torch.randn(batch, dims.frames, 3, side, side, device=device)
    return {
        "text": lambda: network.embed_text(ids, mask),
        "video": lambda: network.embed_video(frames),
        "fused": lambda: network.match(ids, mask, network.visual_tokens(frames)),
    }


def count_gmac(run: Run) -> float:
    """Return the multiply-adds of one run; attention is counted as the products it stands for."""
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), plain:
        run()
    return counter.get_total_flops() / 2 / GIGA


def measure(run: Run, yardstick: Run, rounds: int, clock: Callable[[], float]) -> list[list[float]]:
    """Time the pass between two matrix products, again and again, in seconds."""

    def timed(what: Run) -> float:
        start = clock()
        what()
        return clock() - start

    run(), yardstick()
    times = []
    for _ in range(rounds):
        before, of_pass, after = timed(yardstick), timed(run), timed(yardstick)
        times.append([of_pass, (before + after) / 2])
    return times


def bench(size: str, dtype: str, *, batch: int, rounds: int, clock: str) -> list[Row]:
    """Measure the three passes of one size in one type."""
    dims, half = SIZES[size], DTYPES[dtype] is torch.bfloat16
    network = build(dims).eval().requires_grad_(requires_grad=False)
    counted = {name: count_gmac(run) for name, run in passes_of(network, dims, 1).items()}
    store_matrices(network, DTYPES[dtype])
    square = torch.randn(YARDSTICK, YARDSTICK).to(DTYPES[dtype])
    rows = []
    for name, run in passes_of(network, dims, batch).items():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            times = measure(run, lambda: square @ square, rounds, CLOCKS[clock])
        seconds, of_square = (statistics.median(column) for column in zip(*times, strict=True))
        gmac, square_gmac = counted[name] * batch, YARDSTICK**3 / GIGA
        ratios = [(gmac / own) / (square_gmac / other) for own, other in times]
        rows.append(
            Row(
                size=size,
                dtype=dtype,
                name=name,
                batch=batch,
                gmac=round(gmac, 3),
                milliseconds=round(1000 * seconds, 2),
                gmac_per_s=round(gmac / seconds, 1),
                matmul_gmac_per_s=round(square_gmac / of_square, 1),
                share=round(statistics.median(ratios), 3),
            )
        )
    return rows


def main() -> None:
    """Print one line per size, type and pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "base"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [
        row
        for size in given.sizes
        for dtype in given.dtypes
        for row in bench(size, dtype, batch=given.batch, rounds=given.rounds, clock=given.clock)
    ]
    if given.json:
        settings = {"threads": given.threads, "clock": given.clock, "torch": torch.__version__}
        print(json.dumps({**settings, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(f"{given.threads} threads, batch {given.batch}, {given.clock} time")
    print("size  type  pass      GMAC        ms   GMAC/s   matmul  share")
    for row in rows:
        print(
            f"{row.size:5} {row.dtype:5} {row.name:6} {row.gmac:8.2f} {row.milliseconds:9.1f} "
            f"{row.gmac_per_s:8.1f} {row.matmul_gmac_per_s:8.1f}  {row.share:4.0%}"
        )


if __name__ == "__main__":
    main()
