"""`doctor`: find what would keep Reelseek from working on this machine, and say the mend."""

import typer
from rich.table import Table

from service.cli import machine_checks, running_checks, server_checks, storage_checks
from service.cli.console import Exit, JsonOption, escape, print_json, print_table
from service.cli.finding import Check, Outcome
from service.cli.roots import load_settings

CHECKS = (
    machine_checks.check_python,
    machine_checks.check_packages,
    machine_checks.check_faiss,
    machine_checks.check_torch,
    machine_checks.check_bundle,
    machine_checks.check_decoder,
    storage_checks.check_sandbox,
    machine_checks.check_data_dir,
    machine_checks.check_disk,
    storage_checks.check_storage,
    server_checks.check_database,
    running_checks.check_clock,
    server_checks.check_broker,
    server_checks.check_index,
    server_checks.check_api,
    running_checks.check_processes,
    running_checks.check_replicas,
    running_checks.check_queues,
    running_checks.check_webhooks,
    running_checks.check_backup,
    running_checks.check_audit,
)

MARKS = {Outcome.GOOD: "[green]ok[/]", Outcome.NOTE: "[yellow]note[/]", Outcome.BAD: "[red]bad[/]"}


def doctor(*, as_json: JsonOption = False) -> None:
    """Check this machine, its packages, data and servers. The exit code is 1 if anything is bad."""
    settings = load_settings()
    found = [check(settings) for check in CHECKS]
    is_good = all(check.outcome is not Outcome.BAD for check in found)
    if as_json:
        print_json({"ok": is_good, "checks": [check.as_json() for check in found]})
    else:
        _print(found)
    if not is_good:
        raise typer.Exit(Exit.FAILED)


def _print(found: list[Check]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in found:
        table.add_row(MARKS[check.outcome], check.name, escape(check.finding))
        if check.mend:
            table.add_row("", "", f"[bold]{escape(check.mend)}[/]")
    print_table(table)
