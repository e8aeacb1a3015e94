"""`import`: let the server fetch videos, by their addresses, from its folder, or from a bucket."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from service.cli.client import Api, KeyOption, UrlOption, open_api
from service.cli.console import (
    CliError,
    Exit,
    JsonOption,
    err,
    escape,
    out,
    print_json,
)

POLL_S = 0.5
ENDED = {"done", "failed", "cancelled"}
PAGE = 1000
ADDRESSES = ("http://", "https://")
BUCKET = "s3://"


def import_videos(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Addresses (https://...), or one folder below the import folder of the server, "
            "or one bucket (s3://bucket/prefix)."
        ),
    ],
    *,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be given again.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Object store of the bucket; that of the server if unset.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until everything is fetched.")] = True,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Let the server fetch videos, and wait until it has them.

    Doing it again is harmless: content that is already there is recognised. The exit code is 1 if
    any file was refused. A bucket needs an admin key.
    """
    body = {**_wanted(sources, endpoint), "tags": tag or []}
    with open_api(url, key) as api:
        made = api.post("/v1/imports", body)
        if not wait:
            print_json(made) if as_json else out.print(f"Import {made['id']} waits for its turn.")
            return
        done = _follow(api, made, is_quiet=as_json)
        items = _items(api, done)
    _report(done, items, as_json=as_json)


def _wanted(sources: Sequence[str], endpoint: str | None) -> dict[str, Any]:
    if all(source.startswith(ADDRESSES) for source in sources):
        return {"urls": [{"url": source} for source in sources]}
    if len(sources) > 1:
        raise CliError("Name addresses, or one folder, or one bucket.", code=Exit.USAGE)
    if sources[0].startswith(BUCKET):
        return {"bucket": {"url": sources[0], "endpoint": endpoint}}
    return {"folder": sources[0]}


def _follow(api: Api, made: dict[str, Any], *, is_quiet: bool) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    found = made
    try:
        with Progress(*columns, console=err, disable=is_quiet, transient=True) as bar:
            shown = bar.add_task("waiting", total=100)
            while found["state"] not in ENDED:
                time.sleep(POLL_S)
                found = api.get(made["links"]["self"])
                stage = found["stage"] or "waiting"
                bar.update(shown, completed=found["percent"], description=stage)
    except KeyboardInterrupt:
        err.print("The import goes on without this command.", soft_wrap=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    return dict(found)


def _items(api: Api, done: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after: int | None = -1
    while after is not None:
        page = api.get(f"{done['links']['self']}/items", limit=PAGE, after=after)
        items += page["items"]
        after = page["next_after"]
    return items


def _report(done: dict[str, Any], items: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    is_good = done["state"] == "done" and not done["items"]["refused"]
    if as_json:
        print_json({**done, "files": items})
    else:
        for item in items:
            if item["state"] == "refused":
                out.print(
                    f"[red]refused[/] {escape(item['source'])}: {escape(item['detail'] or '')}",
                    soft_wrap=True,
                )
        if done["state"] != "done":
            err.print(f"The import is {done['state']}. {escape(done['detail'] or '')}")
        counts = done["items"]
        out.print(
            f"{counts['accepted']} videos are new, {counts['duplicate']} were here already, "
            f"{counts['refused']} were refused."
        )
    if not is_good:
        raise typer.Exit(Exit.FAILED)
