"""`search`: type a sentence, get moments."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.client import KeyOption, UrlOption, open_api
from service.cli.console import (
    JsonOption,
    clock,
    command_name,
    err,
    escape,
    out,
    print_json,
    print_table,
)

HOW_TO_SEE_THE_CLOSEST = " `--include-unsure` shows the closest moments anyway."


def search(
    text: Annotated[str, typer.Argument(help="What happens in the moment you look for.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many moments.")] = 10,
    tag: Annotated[list[str] | None, typer.Option(help="Only videos with this tag.")] = None,
    by_video: Annotated[bool, typer.Option(help="Only the best moment of each video.")] = False,
    include_unsure: Annotated[
        bool, typer.Option(help="Show the closest moments even if none is a confident match.")
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Search all videos by what happens in them."""
    request: dict[str, Any] = {
        "text": text,
        "limit": limit,
        "group_by": "video" if by_video else "moment",
    }
    if include_unsure:
        request["include_unsure"] = True
    if tag:
        request["filter"] = {"tags": tag}
    with open_api(url, key) as api:
        answer = api.post("/v1/search", request)
        if as_json:
            print_json(answer)
            return
        if answer.get("confidence") == "none":
            err.print("No confident match." + ("" if include_unsure else HOW_TO_SEE_THE_CLOSEST))
        elif not answer["moments"]:
            out.print(
                f"Nothing found. Upload videos first (`{command_name()} ingest FOLDER`), or wait "
                "until those that are there are processed.",
                soft_wrap=True,
            )
        if not answer["moments"]:
            return
        print_table(moments_table(answer["moments"], base_url=api.url))
        if answer.get("degraded"):
            err.print("There was no time to re-rank everything; these are the best so far.")


def moments_table(moments: Sequence[Mapping[str, Any]], *, base_url: str) -> Table:
    """Return moments as people read them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("#", "From - to", "Similarity", "Match"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Video", overflow="fold", max_width=40)
    table.add_column("Link", no_wrap=True)
    for moment in moments:
        probability = moment.get("match_probability")
        table.add_row(
            str(moment["rank"]),
            f"{clock(moment['start_s'])} - {clock(moment['end_s'])}",
            f"{moment['similarity']:.3f}",
            "-" if probability is None else f"{100 * probability:.0f} %",
            escape(str(moment["title"])),
            _absolute(base_url, moment["media_url"]),
        )
    return table


def _absolute(base_url: str, link: str) -> str:
    return base_url + link if link.startswith("/") else link
