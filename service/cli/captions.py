"""`captions`: what happens in your videos, as you say it; tunings learn from it."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from service.captions.lines import CaptionFormat
from service.cli.client import KeyOption, UrlOption, open_api
from service.cli.console import (
    CliError,
    Exit,
    JsonOption,
    clock,
    command_name,
    err,
    escape,
    out,
    print_json,
    print_table,
)
from service.cli.naming import PAGE, find_video, pages

FORMATS = {f".{form}": form for form in CaptionFormat} | {".ndjson": CaptionFormat.JSONL}
MAX_NAMED = 20
"""Skipped lines that are printed one by one."""

captions = typer.Typer(
    help="Say what happens in your videos: what a tuning learns from.", no_args_is_help=True
)

FormatOption = Annotated[
    CaptionFormat | None, typer.Option("--format", help="By the name of the file if unset.")
]
VideoOption = Annotated[
    str | None, typer.Option(help="Id, file name or title; .vtt and .srt files need it.")
]


class Wrong(StrEnum):
    """What to do with lines that are wrong."""

    REFUSE = "refuse"
    SKIP = "skip"


@captions.command("add")
def add_caption(
    video: Annotated[str, typer.Argument(help="Id, file name or title.")],
    text: Annotated[str, typer.Argument(help="What happens.")],
    *,
    start_s: Annotated[float | None, typer.Option("--from", help="Seconds.")] = None,
    end_s: Annotated[float | None, typer.Option("--to", help="Seconds.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Say what happens in a video, or in a span of it."""
    with open_api(url, key) as api:
        body = {"text": text, "start_s": start_s, "end_s": end_s}
        made = api.post(f"/v1/videos/{find_video(api, video)}/captions", body)
    if as_json:
        print_json(made)
    else:
        out.print(f"{made['id']}  {_span(made)}  {escape(made['text'])}", soft_wrap=True)


@captions.command("list")
def list_captions(
    *,
    video: VideoOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List captions, newest first."""
    with open_api(url, key) as api:
        query = {} if video is None else {"video_id": find_video(api, video)}
        listed = pages(api, "/v1/captions", limit=min(limit, PAGE), **query)
        found: list[Mapping[str, Any]] = []
        for page in listed:
            found += page["captions"]
            if len(found) >= limit:
                break
    if as_json:
        print_json(found[:limit])
        return
    if not found:
        out.print(
            f"There are no captions; `{command_name()} captions add VIDEO TEXT` makes one, "
            f"`{command_name()} captions import FILE` many.",
            soft_wrap=True,
        )
        return
    table = Table("Id", "Video", "From - to", "Text", "Source", box=None, header_style="bold")
    for one in found[:limit]:
        table.add_row(
            one["id"], one["video_id"], _span(one), escape(one["text"]), str(one["source"])
        )
    print_table(table)


@captions.command("import")
def import_captions(
    file: Annotated[Path, typer.Argument(help=".csv, .jsonl, .vtt or .srt.")],
    *,
    form: FormatOption = None,
    video: VideoOption = None,
    wrong: Annotated[Wrong, typer.Option(help="What to do with wrong lines.")] = Wrong.REFUSE,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Take in a file of captions; doing it again is harmless.

    CSV has the columns video, text, start_s and end_s; JSON Lines has the same keys, or those that
    `train` reads. The exit code is 1 if a line was left out.
    """
    query: dict[str, Any] = {"format": str(_form_of(file, form)), "on_error": str(wrong)}
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CliError(f"{file} cannot be read ({error.strerror}).") from None
    with open_api(url, key) as api:
        if video is not None:
            query["video_id"] = find_video(api, video)
        done = api.post_content("/v1/captions/import", content, **query)
    if as_json:
        print_json(done)
    else:
        _tell(done)
    if done["num_skipped"]:
        raise typer.Exit(Exit.FAILED)


@captions.command("export")
def export_captions(
    file: Annotated[Path | None, typer.Argument(help="Where to; stdout if unset.")] = None,
    *,
    form: FormatOption = None,
    video: VideoOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Write captions to a file, all of them or those of one video."""
    query: dict[str, Any] = {"format": str(_form_of(file, form))}
    with open_api(url, key) as api:
        if video is not None:
            query["video_id"] = find_video(api, video)
        content = api.get_content("/v1/captions/export", **query)
    if file is None:
        sys.stdout.buffer.write(content)
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        raise CliError(f"{file} cannot be written ({error.strerror}).") from None


@captions.command("delete")
def delete_caption(
    caption_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `captions list` shows it.")],
    *,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Delete a caption: nothing learns from it any more."""
    with open_api(url, key) as api:
        api.delete(f"/v1/captions/{caption_id}")
    out.print("Deleted.")


def _form_of(file: Path | None, form: CaptionFormat | None) -> CaptionFormat:
    if form is not None:
        return form
    if file is None:
        return CaptionFormat.CSV
    known = FORMATS.get(file.suffix.lower())
    if known is None:
        raise CliError(
            f"{file} ends with none of {', '.join(FORMATS)}; say what it is with --format.",
            code=Exit.USAGE,
        )
    return known


def _span(caption: Mapping[str, Any]) -> str:
    if caption["start_s"] is None:
        return "all of it"
    return f"{clock(caption['start_s'])} - {clock(caption['end_s'])}"


def _tell(done: Mapping[str, Any]) -> None:
    out.print(f"{done['imported']} new, {done['unchanged']} already here.")
    for one in done["skipped"][:MAX_NAMED]:
        err.print(f"line {one['line']} was left out: {escape(one['reason'])}", soft_wrap=True)
    if done["num_skipped"] > MAX_NAMED:
        err.print(f"{done['num_skipped']} lines were left out in all.")
