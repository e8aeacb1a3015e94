"""`explain`: why is a video found where it is, or not at all?"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.client import KeyOption, UrlOption, open_api
from service.cli.console import JsonOption, clock, escape, out, print_json, print_table
from service.cli.naming import find_video


def explain(
    text: Annotated[str, typer.Argument(help="What was searched for.")],
    video: Annotated[str, typer.Argument(help="Which video: id, file name or title.")],
    *,
    start_s: Annotated[
        float | None, typer.Option("--at", min=0, help="Only its moment at this second.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="As in the search.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Say where a video stands in a search, found or not, and why."""
    request: dict[str, Any] = {"text": text}
    if start_s is not None:
        request["start_s"] = start_s
    if tag:
        request["filter"] = {"tags": tag}
    with open_api(url, key) as api:
        request["video_id"] = find_video(api, video)
        answer = api.post("/v1/search/explain", request)
    if as_json:
        print_json(answer)
        return
    out.print(f"{escape(answer['video']['title'])}: {escape(answer['why'])}", soft_wrap=True)
    if answer["best_segment"]:
        print_table(standing_table(answer["best_segment"]))
    if answer["frames"]:
        print_table(frames_table(answer["frames"]))


def standing_table(best: Mapping[str, Any]) -> Table:
    """Return where the best segment stands, as people read it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("From - to", "Similarity", "Match", "By similarity", "Rank"):
        table.add_column(name, justify="right", no_wrap=True)
    probability, rank = best["match_probability"], best["rank"]
    table.add_row(
        f"{clock(best['start_s'])} - {clock(best['end_s'])}",
        f"{best['similarity']:.3f}",
        "-" if probability is None else f"{100 * probability:.0f} %",
        str(best["rank_by_similarity"]),
        "-" if rank is None else str(rank),
    )
    return table


def frames_table(frames: list[Mapping[str, Any]]) -> Table:
    """Return how similar each frame is, as people read it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Frame at", "Similarity"):
        table.add_column(name, justify="right", no_wrap=True)
    for frame in frames:
        table.add_row(clock(frame["time_s"]), f"{frame['similarity']:.3f}")
    return table
