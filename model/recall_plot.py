"""A picture of recall: share of queries that are answered among the first K, stream by stream."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from model.metrics import recall_at
from model.report import DIRECTIONS, Direction, Report, Stream

SUFFIXES = (".svg", ".png")
TITLES: dict[Direction, str] = {"t2v": "text to video", "v2t": "video to text"}
TICKS = (1, 2, 5, 10, 20, 50, 100)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by colour-blind readers too (Okabe and Ito, 2008); dashes tell them apart in grey."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
MARKED = (1, 5, 10)
SPREAD = 0.03
"""Error bars of neighbouring streams stand this far apart, as a share of K."""
INCHES = (10.0, 4.6)
DPI = 150


def draw_recall(report: Report, path: Path, *, title: str) -> None:
    """Draw R@K over K for every stream, both directions side by side.

    Bars at K = 1, 5 and 10 are 95 % bootstrap intervals. A dotted line shows what guessing finds.

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
    last = max(2, min(TICKS[-1], num_answers))
    ks = np.arange(1, last + 1)
    for number, stream in enumerate(report.streams):
        _draw_stream(axes, stream, direction, ks, number)
    if direction == "t2v":
        axes.plot(ks, 100 * ks / num_answers, ":", color="0.6", lw=1, label="guessing")
    axes.set_title(f"{TITLES[direction]} ({num_answers} to choose from)", fontsize="medium")
    axes.set_xscale("log")
    axes.set_xlim(0.9, 1.05 * last)
    axes.xaxis.set_major_locator(FixedLocator([k for k in TICKS if k <= last]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
    axes.set_xlabel("K")
    axes.set_ylim(0, 102)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize="small", framealpha=0.95)


def _draw_stream(
    axes: Axes, stream: Stream, direction: Direction, ks: np.ndarray, number: int
) -> None:
    """Draw one stream: its curve, and bars where its intervals are known."""
    figures = stream.figures(direction)
    style = number % len(COLOURS)
    axes.plot(
        ks,
        [recall_at(figures.ranking.ranks, int(k)) for k in ks],
        ls=DASHES[style],
        color=COLOURS[style],
        lw=1.8,
        label=f"{stream.label}: R@1 {figures.recall.r1:.1f}",
    )
    for k in (k for k in MARKED if k <= ks[-1]):
        interval, middle = figures.intervals[f"R@{k}"], recall_at(figures.ranking.ranks, k)
        ends = [[max(0.0, middle - interval.low)], [max(0.0, interval.high - middle)]]
        axes.errorbar(
            k * (1 + SPREAD * number), middle, ends, color=COLOURS[style], capsize=3, lw=1.2, ms=4,
            marker="o",
        )  # fmt: skip
