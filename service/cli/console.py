"""What the command prints: tables for people on stdout, JSON on request, failures on stderr."""

import json
import shutil
import sys
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

WIDEST = 250

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Exit(IntEnum):
    """Exit codes of the command; part of its interface (README, docs/operations.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


class CliError(Exception):
    """An expected failure: one sentence for a person, with the next step in it."""

    def __init__(self, sentence: str, *, code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


def print_json(value: Any) -> None:
    """Print a value for other programs: plain, unwrapped, uncoloured."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> str:
    """Write what JSON has no form for: times as ISO 8601, ids and paths as text."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(table: Table) -> None:
    """Print a table, wider than the terminal if need be: nobody can use half an id or a link."""
    Console(width=max(out.width, WIDEST), highlight=False).print(table)


def print_failure(sentence: str) -> None:
    """Print why the command failed."""
    err.print(f"[bold red]reelseek:[/] {escape(sentence)}", soft_wrap=True)


def command_name() -> str:
    """Return what a person types to start this command again."""
    started = Path(sys.argv[0])
    if started.name != "reelseek":
        return "reelseek"
    found = shutil.which("reelseek")
    if found and Path(found).absolute() == started.absolute():
        return "reelseek"
    here = Path.cwd()
    absolute = started.absolute()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def clock(seconds: float) -> str:
    """Return a time in a video as people read it: 75.25 -> 1:15.2."""
    tenths = int(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def escape(text: str) -> str:
    """Keep rich from reading square brackets in file names as styles."""
    return text.replace("[", "\\[")
