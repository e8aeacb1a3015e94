"""The table that `evaluate` prints: a row for each way to search, intervals below the figures."""

from rich.table import Table

from model.bootstrap import FIGURES
from model.report import DIRECTIONS, Direction, Figures
from service.cli.console import err, escape, out, print_table
from service.cli.measuring import Outcome

NAMES: dict[Direction, str] = {"t2v": "text to video", "v2t": "video to text"}


def print_outcome(outcome: Outcome) -> None:
    """Print what was searched, the figures, and the notes."""
    report = outcome.report
    err.print(escape(outcome.title), soft_wrap=True)
    table = Table("", "", box=None, header_style="bold", pad_edge=False)
    for name in FIGURES:
        table.add_column(name, justify="right")
    for direction in DIRECTIONS:
        for number, stream in enumerate(report.streams):
            name = "" if number else NAMES[direction]
            table.add_row(name, stream.label, *_cells(stream.figures(direction)))
    print_table(table)
    out.print(
        f"{report.num_texts} texts, {report.num_videos} videos. Below each figure its 95 % "
        "bootstrap interval.",
        soft_wrap=True,
    )
    order = outcome.extra.get("temporal_order")
    if order:
        passes = {"fused": "fused pass", "dual_stream": "dual stream"}
        shares = ", ".join(
            f"{name} {order[key]:g} %" for key, name in passes.items() if key in order
        )
        out.print(
            f"The right one of a video and its reversal: {shares} of {order['num_texts']} texts.",
            soft_wrap=True,
        )
    for note in outcome.notes:
        out.print(escape(note), soft_wrap=True)


def _cells(figures: Figures) -> list[str]:
    """Return a figure and its interval for each column."""
    values = figures.recall.to_json()
    ends = figures.intervals
    cells = []
    for name in FIGURES:
        value = f"{values[name]:g}" if name == "MdR" else f"{values[name]:.1f}"
        cells.append(f"{value}\n[dim]{ends[name].low:.1f}-{ends[name].high:.1f}[/]")
    return cells
