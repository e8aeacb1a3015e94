"""Times a pass turn by turn with a plain matrix product, on a machine that may be busy."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
YARDSTICKS = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices that are multiplied: large enough for the machine's full speed."""
SHORTEST_S = {"cpu": 0.0, "cuda": 0.05}
"""A stretch that is timed lasts at least this long, so that waiting for the device is little."""
MIB = 1024**2
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Row:
    """One pass, measured.

    Attributes:
        size: of the network.
        dtype: of its matrix products.
        how: which of the ways that the bench names it ran in.
        name: the pass, or `train` for a whole training step.
        batch: clips, texts or pairs at once.
        gmac: multiply-adds of the batch, in thousand millions.
        milliseconds: median time of the batch.
        items_per_s: clips, texts or pairs.
        tflop_per_s: a multiply-add is two operations.
        matmul_tflop_per_s: what the matrix product beside it reached.
        share: of the matrix product's speed, median of neighbours.
        peak_mib: most memory that was allocated on the device, without the matrix product's;
            None on a CPU.
    """

    size: str
    dtype: str
    how: str
    name: str
    batch: int
    gmac: float
    milliseconds: float
    items_per_s: float
    tflop_per_s: float
    matmul_tflop_per_s: float
    share: float
    peak_mib: float | None


class Stopwatch:
    """Times runs on one device.

    Args:
        device: `cpu` or `cuda`.
        clock: `wall`, or `cpu` for the time that this process computed.
        rounds: how often a pass and its neighbours are timed.
    """

    def __init__(self, device: str, *, clock: str, rounds: int) -> None:
        self.device = device
        self.rounds = rounds
        self._clock = CLOCKS[clock]

    def row(
        self, run: Run, *, size: str, dtype: str, how: str, name: str, batch: int, gmac: float
    ) -> Row:
        """Measure one pass.

        Args:
            run: the pass.
            size: as in `Row`, as all that follow but the last.
            dtype: its matrix products' type, which the yardstick shares.
            how: how it runs.
            name: which pass.
            batch: how many items it works on.
            gmac: multiply-adds of one item.
        """
        peak_mib = self._peak_mib(run)
        side = YARDSTICKS[self.device]
        square = torch.randn(side, side, device=self.device).to(DTYPES[dtype])
        times = self.alternate(run, lambda: square @ square)
        gflop, square_gflop = 2 * gmac * batch, 2 * side**3 / 1e9
        seconds, of_square = (statistics.median(column) for column in zip(*times, strict=True))
        ratios = [(gflop / own) / (square_gflop / other) for own, other in times]
        return Row(
            size=size,
            dtype=dtype,
            how=how,
            name=name,
            batch=batch,
            gmac=round(gmac * batch, 3),
            milliseconds=round(1000 * seconds, 2),
            items_per_s=round(batch / seconds, 2),
            tflop_per_s=round(gflop / seconds / 1000, 4),
            matmul_tflop_per_s=round(square_gflop / of_square / 1000, 4),
            share=round(statistics.median(ratios), 3),
            peak_mib=peak_mib,
        )

    def alternate(self, run: Run, yardstick: Run) -> list[tuple[float, float]]:
        """Return the seconds of the run and the mean of the yardstick before and after it."""
        repeats = [self._repeats(what) for what in (run, yardstick)]
        times = []
        for _ in range(self.rounds):
            before = self._timed(yardstick, repeats[1])
            of_run = self._timed(run, repeats[0])
            after = self._timed(yardstick, repeats[1])
            times.append((of_run, (before + after) / 2))
        return times

    def _repeats(self, what: Run) -> int:
        """Warm up, and return how often to repeat a run in one stretch."""
        for _ in range(1 if self.device == "cpu" else 3):
            self._timed(what, 1)
        alone_s = self._timed(what, 1) if SHORTEST_S[self.device] else 1.0
        return 1 + int(SHORTEST_S[self.device] / alone_s)

    def _timed(self, what: Run, repeats: int) -> float:
        self._wait()
        start = self._clock()
        for _ in range(repeats):
            what()
        self._wait()
        return (self._clock() - start) / repeats

    def _peak_mib(self, run: Run) -> float | None:
        if self.device == "cpu":
            return None
        run()  # what is compiled or tuned on first use is no part of it
        self._wait()
        torch.cuda.reset_peak_memory_stats()
        run()
        return round(torch.cuda.max_memory_allocated() / MIB, 1)

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def make_parser(description: str, sizes: list[str]) -> argparse.ArgumentParser:
    """Return a parser of what both benches of speed can be asked."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=["tiny", "base"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, help="8 on a CPU, 128 on a GPU if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    return parser


def print_rows(rows: list[Row], given: argparse.Namespace) -> None:
    """Print one line per row, or JSON."""
    machine = torch.cuda.get_device_name() if given.device == "cuda" else f"{given.threads} threads"
    if given.json:
        settings = {"machine": machine, "clock": given.clock, "torch": torch.__version__}
        print(json.dumps({**settings, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(f"{machine}, {given.clock} time, torch {torch.__version__}")
    names = ("GMAC", "ms", "items/s", "TFLOP/s", "matmul", "share", "MiB")
    print("size         type  way        pass  batch" + "".join(f"{name:>10}" for name in names))
    for row in rows:
        peak = "-" if row.peak_mib is None else f"{row.peak_mib:.0f}"
        print(
            f"{row.size:13}{row.dtype:6}{row.how:11}{row.name:6}{row.batch:5}{row.gmac:10.2f}"
            f"{row.milliseconds:10.1f}{row.items_per_s:10.1f}{row.tflop_per_s:10.3f}"
            f"{row.matmul_tflop_per_s:10.3f}{row.share:10.0%}{peak:>10}"
        )
