"""How the command shows tuning runs: a bar while one goes on, then how its model compares."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from service.cli.client import Api
from service.cli.console import command_name, err, escape, out, print_table
from service.settings import GIB

SHOWN_QUERIES = 5


def watch(api: Api, tuning_id: str, *, is_quiet: bool) -> None:
    """Show how a run goes until it has ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    losses = ""
    run: Mapping[str, Any] = {"state": "queued", "stage": None, "percent": 0.0, "eta_s": None}
    with Progress(*columns, console=err, disable=is_quiet) as progress:
        bar = progress.add_task("queued", total=100.0)
        for name, body in api.events(f"/v1/tunings/{tuning_id}/events"):
            if name == "notice":
                progress.console.print(f"* {body['text']}", markup=False, soft_wrap=True)
                continue
            if name == "point":
                losses = f"step {body['step']}  loss {body['loss']:.3f}"
            else:
                run = body
            progress.update(bar, description=_describe(run, losses), completed=run["percent"])


def print_tunings(tunings: Sequence[Mapping[str, Any]]) -> None:
    """Print one line for each run."""
    table = Table("Id", "State", "%", "From", "Candidate", "Asked", box=None, header_style="bold")
    for one in tunings:
        candidate = one["candidate_version"]
        table.add_row(
            one["id"],
            one["stage"] or one["state"],
            f"{one['percent']:.0f}",
            escape(one["base_version"]["name"]),
            escape(candidate["name"]) if candidate else "",
            one["created_at"][:16].replace("T", " "),
        )
    print_table(table)


def print_dry_run(told: Mapping[str, Any]) -> None:
    """Print what a run would take."""
    pairs = told["pairs"]
    lasts = timedelta(seconds=round(told["estimated_s"] + told["decode_s"]))
    out.print(
        f"{pairs['train']} pairs of {pairs['videos_train']} videos to train on, "
        f"{pairs['held_out']} of {pairs['videos_held_out']} to measure on."
    )
    out.print(f"{told['steps']} steps of {told['batch']} pairs, about {lasts} in all.")
    out.print(f"About {told['estimated_memory_bytes'] / GIB:.1f} GiB of memory.")
    for warning in told["warnings"]:
        err.print(f"* {warning}", markup=False, soft_wrap=True)


def print_report(tuning: Mapping[str, Any]) -> None:
    """Print how a run ended, and what to do next."""
    if tuning["state"] not in ("done", "failed", "cancelled"):
        return
    if tuning["state"] != "done":
        why = f": {tuning['detail']}" if tuning["detail"] else "."
        out.print(f"The tuning is {tuning['state']}{why}", markup=False, soft_wrap=True)
        return
    report, candidate = tuning["report"] or {}, tuning["candidate_version"]
    if report.get("verdict"):
        verdict = str(report["verdict"]).replace("_", " ")
        out.print(f"[bold]{verdict}[/]: {escape(str(report.get('why', '')))}", soft_wrap=True)
    streams = (report.get("held_out") or {}).get("streams") or []
    if streams:
        print_table(_table_of(streams))
    if candidate:
        out.print(
            f"The model is {candidate['name']}; `{command_name()} models use {candidate['name']}` "
            "lets it take over.",
            markup=False,
            soft_wrap=True,
        )


def _table_of(streams: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(
        *("Stream", "Direction", "Metric", "Before", "After", "Difference", "95 % interval"),
        box=None,
        header_style="bold",
    )
    for row in streams:
        table.add_row(
            str(row["stream"]).replace("_", " "),
            row["direction"],
            row["metric"],
            _figure(row["base"], ".3f"),
            _figure(row["candidate"], ".3f"),
            _figure(row["difference"], "+.3f"),
            "-" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}",
        )
    return table


def _figure(value: float | None, form: str) -> str:
    """Return a figure, or a dash: a model without a joint space has none."""
    return "-" if value is None else format(value, form)


def _describe(progress: Mapping[str, Any], losses: str) -> str:
    words = [str(progress["stage"] or progress["state"])]
    if losses and progress["stage"] == "training":
        words.append(losses)
    if progress["eta_s"] is not None:
        words.append(f"{timedelta(seconds=round(progress['eta_s']))} left")
    return escape("  ".join(words))
