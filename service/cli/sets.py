"""`sets`: how well the search finds what you know to be right, and how that went on."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.client import Api, KeyOption, UrlOption, open_api
from service.cli.console import (
    CliError,
    Exit,
    JsonOption,
    command_name,
    err,
    escape,
    out,
    print_json,
    print_table,
)

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
ENDED = {"done", "failed", "cancelled"}
POLL_S = 0.5
METRICS = ("R@1", "R@5", "R@10", "MdR", "nDCG@10")
STREAM_NAMES = {"dual_stream": "dual stream", "reranked": "re-ranked"}

Name = Annotated[str, typer.Argument(help="As `sets list` shows it.")]
Version = Annotated[int | None, typer.Option(min=1, help="Which version; the newest if unset.")]

sets = typer.Typer(
    help="Measure your search on queries whose right moments you know.", no_args_is_help=True
)


@sets.command("import")
def import_set(
    file: Annotated[
        Path, typer.Argument(help="CSV or JSON Lines with text, video, start_s and end_s.")
    ],
    *,
    name: Annotated[str | None, typer.Option(help="Its name; that of the file if unset.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Keep the queries of a file; by a name that is there already they are its next version."""
    file_format = FORMATS.get(file.suffix.lower())
    if file_format is None:
        raise CliError(f"{file} ends neither with .csv nor with .jsonl.", code=Exit.USAGE)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.", code=Exit.USAGE) from None
    with open_api(url, key) as api:
        wanted = name or file.stem
        made = api.post_content(
            "/v1/evaluation-sets/import", content, name=wanted, format=file_format
        )
    if as_json:
        print_json(made)
        return
    number = made["num_queries"]
    out.print(
        f"{escape(made['name'])}, version {made['version']}: {number} "
        f"quer{'y' if number == 1 else 'ies'}. Run it with "
        f"`{command_name()} sets run '{escape(made['name'])}'`.",
        soft_wrap=True,
    )


@sets.command("delete")
def delete_set(
    name: Name,
    *,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Delete a set: all of its versions, and their history."""
    with open_api(url, key) as api:
        found = _find(api, name, None)
        api.delete(f"/v1/evaluation-sets/{found['id']}")
    out.print(f"{escape(name)} is deleted.", soft_wrap=True)


@sets.command("list")
def list_sets(
    *,
    all_versions: Annotated[bool, typer.Option("--all", help="Older versions, too.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List the sets, each with its newest result."""
    with open_api(url, key) as api:
        found = _list(api, all_versions=all_versions)
    if as_json:
        print_json(found)
        return
    if not found:
        out.print(f"There are no sets; `{command_name()} sets import FILE` makes one.")
        return
    table = Table("Set", "Version", "Queries", "Gone", box=None, header_style="bold")
    for title in ("Last run", "Model", *METRICS):
        table.add_column(title, justify="right" if title in METRICS else "left")
    for one in found:
        last = one["last_run"]
        ran = [last["finished_at"][:16].replace("T", " "), last["model_name"]] if last else ["", ""]
        table.add_row(
            escape(one["name"]),
            str(one["version"]),
            str(one["num_queries"]),
            str(one["num_gone"]),
            *map(escape, ran),
            *(_best(last) if last else [""] * len(METRICS)),
        )
    print_table(table)


@sets.command("run")
def run_set(
    name: Name,
    *,
    version: Version = None,
    wait: Annotated[bool, typer.Option(help="Wait for the figures, and print them.")] = True,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Measure what is searched now."""
    with open_api(url, key) as api:
        queued = api.post(f"{_find(api, name, version)['links']['runs']}", {})
        if not wait:
            print_json(queued) if as_json else out.print(f"Queued: run {queued['id']}.")
            return
        run = _follow(api, queued["links"]["self"], is_shown=not as_json)
    if as_json:
        print_json(run)
    elif run["state"] == "done":
        _print_run(run)
    if run["state"] != "done":
        raise CliError(f"The run has {run['state']}: {run['detail'] or 'no reason was given.'}")


@sets.command("history")
def show_history(
    name: Name,
    *,
    version: Version = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many runs.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Show the runs of a set, newest first, with the change of R@1 since the run before each."""
    with open_api(url, key) as api:
        runs = api.get(_find(api, name, version)["links"]["runs"], limit=limit)["runs"]
    if as_json:
        print_json(runs)
        return
    if not runs:
        out.print("It was never run.")
        return
    table = Table("When", "Model", "Why", "State", box=None, header_style="bold")
    for title in ("Queries", *METRICS, "R@1 since"):
        table.add_column(title, justify="right")
    for run in runs:
        figures = run["figures"]
        table.add_row(
            run["created_at"][:16].replace("T", " "),
            escape(run["model_name"] or "-"),
            run["trigger"],
            run["state"],
            str(figures["measured"]) if figures else "-",
            *(_best(run) if figures else ["-"] * len(METRICS)),
            _since(figures) if figures else "-",
        )
    print_table(table)


def _list(api: Api, *, all_versions: bool) -> list[Any]:
    found: list[Any] = api.get("/v1/evaluation-sets", all_versions=all_versions)["sets"]
    return found


def _find(api: Api, name: str, version: int | None) -> Any:
    """Return a version of a set by its name, the newest if none is asked for."""
    for one in _list(api, all_versions=version is not None):
        if one["name"] == name and version in (None, one["version"]):
            return one
    which = f" of version {version}" if version else ""
    raise CliError(
        f"There is no set {name!r}{which}; `{command_name()} sets list` shows them.",
        code=Exit.USAGE,
    )


def _follow(api: Api, path: str, *, is_shown: bool) -> Any:
    """Wait until a run has ended."""
    shown = ""
    while True:
        run = api.get(path)
        if run["state"] in ENDED:
            return run
        said = f"{run['stage'] or run['state']} {run['percent']:.0f} %"
        if is_shown and said != shown:
            err.print(said)
            shown = said
        time.sleep(POLL_S)


def _print_run(run: Mapping[str, Any]) -> None:
    figures = run["figures"]
    table = Table("Stream", "Target", box=None, header_style="bold")
    for title in METRICS:
        table.add_column(title, justify="right")
    for stream in figures["streams"]:
        within = stream["intervals"]
        table.add_row(
            STREAM_NAMES[stream["stream"]],
            stream["target"],
            *(f"{stream[one]:g} ({within[one][0]:g} to {within[one][1]:g})" for one in METRICS),
        )
    print_table(table)
    left_out = [f"{figures[what]} {said}" for what, said in LEFT_OUT.items() if figures[what]]
    out.print(
        f"{figures['measured']} of {figures['queries']} queries among {figures['segments']} "
        f"segments of {figures['videos']} videos, by {escape(run['model_name'])}"
        f"{'; left out: ' + ', '.join(left_out) if left_out else ''}.",
        soft_wrap=True,
    )
    if figures["change"]:
        out.print(f"R@1 since the run before: {_since(figures)}.")


LEFT_OUT = {"gone": "whose video was deleted", "not_indexed": "whose moment is not indexed"}


def _best(run: Mapping[str, Any]) -> list[str]:
    """Return the figures of what a user sees first: moments, re-ranked if anything re-ranks."""
    return [f"{_of_moments(run['figures']['streams'])[name]:g}" for name in METRICS]


def _of_moments(streams: Sequence[Any]) -> Any:
    return [one for one in streams if one["target"] == "moment"][-1]


def _since(figures: Mapping[str, Any]) -> str:
    change = figures["change"]
    if not change:
        return "-"
    found = _of_moments(change["streams"])["R@1"]
    return f"{found['by']:+g} ({found['low']:+g} to {found['high']:+g})"
