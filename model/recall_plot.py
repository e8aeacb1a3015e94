"""A picture of recall: share of queries that are answered among the first K, stream by stream."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from model.metrics import recall_at
from model.report import DIRECTIONS, Direction, Figures, Report, Stream

SUFFIXES = (".svg", ".png")
TITLES: dict[Direction, str] = {"t2v": "text to video", "v2t": "video to text"}
TICKS = (1, 2, 5, 10, 20, 50, 100)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by colour-blind readers too (Okabe and Ito, 2008); dashes tell them apart in grey."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
MARKED = (1, 5, 10)
SPREAD = 0.035
"""Error bars of neighbouring streams stand this far apart, as a share of K."""
WIDEST, STEP = 3.6, 0.6
"""Width of the first line, points, and how much thinner each next one is: none hides another."""
NEARLY_ALL = 99.5
"""From the K on where every stream finds this share, percent, there is nothing more to see."""
ROUND = 10
INCHES = (10.0, 4.6)
DPI = 150


def draw_recall(report: Report, path: Path, *, title: str) -> None:
    """Draw R@K over K for every stream, both directions side by side.

    Bars at K = 1, 5 and 10 are 95 % bootstrap intervals. The percent axis starts where the
    lowest of them ends, and says so by its numbers; if at 0, a thin line shows what guessing finds.

    Args:
        report: what was measured.
        path: `.svg` or `.png`.
        title: what was searched by what.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} ends neither with {' nor with '.join(SUFFIXES)}")
    figure = Figure(figsize=INCHES, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, direction in zip(panels, DIRECTIONS, strict=True):
        _draw_panel(axes, report, direction)
    panels[0].set_ylabel("R@K: queries answered among the first K, percent")
    with mpl.rc_context({"svg.hashsalt": "reelseek", "svg.fonttype": "none"}):
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, dpi=DPI, metadata=metadata)


def _draw_panel(axes: Axes, report: Report, direction: Direction) -> None:
    num_answers = report.num_videos if direction == "t2v" else report.num_texts
    figures = [stream.figures(direction) for stream in report.streams]
    ks = np.arange(1, _last_k(figures, num_answers) + 1)
    lowest = _lowest(report)
    for number, stream in enumerate(report.streams):
        _draw_stream(axes, stream, direction, ks, number)
        _draw_intervals(axes, figures[number], ks, number, len(figures))
    if not lowest and direction == "t2v":
        axes.plot(ks, 100 * ks / num_answers, color="0.6", lw=0.8, label="guessing")
    axes.set_title(f"{TITLES[direction]} ({num_answers} to choose from)", fontsize="medium")
    axes.set_xscale("log")
    axes.set_xlim(0.85, 1.1 * ks[-1])
    axes.xaxis.set_major_locator(FixedLocator([k for k in TICKS if k <= ks[-1]]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
    axes.set_xlabel("K")
    axes.set_ylim(lowest, 100 + 0.02 * (100 - lowest))
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize="small", framealpha=0.95, handlelength=3)


def _last_k(figures: list[Figures], num_answers: int) -> int:
    """Return how many answers are worth a look."""
    for k in TICKS:
        found = min(recall_at(one.ranking.ranks, k) for one in figures)
        if k >= MARKED[-1] and found >= NEARLY_ALL:
            return min(k, max(2, num_answers))
    return min(TICKS[-1], max(2, num_answers))


def _lowest(report: Report) -> float:
    """Return where the percent axis starts: a round number below all intervals."""
    lows = [
        stream.figures(direction).intervals["R@1"].low
        for stream in report.streams
        for direction in DIRECTIONS
    ]
    return float(max(0, ROUND * int((min(lows) - ROUND / 2) // ROUND)))


def _draw_stream(
    axes: Axes, stream: Stream, direction: Direction, ks: np.ndarray, number: int
) -> None:
    figures = stream.figures(direction)
    axes.plot(
        ks,
        [recall_at(figures.ranking.ranks, int(k)) for k in ks],
        ls=DASHES[number % len(DASHES)],
        color=COLOURS[number % len(COLOURS)],
        lw=max(STEP, WIDEST - STEP * number),
        label=f"{stream.label}: R@1 {figures.recall.r1:.1f}",
    )


def _draw_intervals(
    axes: Axes, figures: Figures, ks: np.ndarray, number: int, num_streams: int
) -> None:
    for k in (k for k in MARKED if k <= ks[-1]):
        interval, middle = figures.intervals[f"R@{k}"], recall_at(figures.ranking.ranks, k)
        ends = [[max(0.0, middle - interval.low)], [max(0.0, interval.high - middle)]]
        place = k * (1 + SPREAD * (number - (num_streams - 1) / 2))
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(place, middle, ends, color=colour, capsize=3, lw=1.2, ms=4, marker="o")
