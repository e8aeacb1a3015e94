"""`backup` and `restore`: everything into a folder, and back."""

from pathlib import Path
from typing import Annotated

import typer

from service import backup as backups
from service.catalog.session import make_engine
from service.cli.console import JsonOption, command_name, out, print_json
from service.cli.roots import (
    database_errors,
    load_settings,
    make_writable_folder,
    require_database,
)
from service.cli.serve import say
from service.storage import open_storage

MIB = 1024 * 1024


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder on another disk; it keeps all backups.")],
    *,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Remove older backups than the newest so many.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Back up database, videos and models while everything runs; only what is new is copied."""
    settings = load_settings()
    require_database(settings)
    engine = make_engine(settings.sqlalchemy_url)
    try:
        with database_errors(settings):
            made = backups.make_backup(
                folder,
                engine=engine,
                storage=open_storage(settings),
                keep=keep,
                progress=_silent if as_json else say,
            )
    finally:
        engine.dispose()
    if as_json:
        print_json(vars(made))
        return
    say(
        f"Backup {made.name} of {made.num_videos} videos is in {made.folder}: {made.num_copied} "
        f"files ({made.copied_bytes / MIB:.1f} MiB) were new."
    )
    if made.removed:
        say(f"Removed: {', '.join(made.removed)}.")


def restore(
    folder: Annotated[Path, typer.Argument(help="Folder that `backup` wrote.")],
    *,
    name: Annotated[str | None, typer.Option(help="Which backup; the newest if left out.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the backup and compare every digest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a backup back into an empty installation; stop everything else first."""
    settings = load_settings()
    if check:
        with database_errors(settings):
            manifest = backups.check_backup(folder, name)
        found = {"name": manifest.name, "videos": len(manifest.blobs), "ok": True}
        _tell(found, f"Backup {manifest.name} is whole.", as_json=as_json)
        return
    make_writable_folder(settings)
    engine = make_engine(settings.sqlalchemy_url)
    try:
        with database_errors(settings):
            done = backups.restore(
                folder,
                name,
                engine=engine,
                storage=open_storage(settings),
                progress=_silent if as_json else say,
            )
    finally:
        engine.dispose()
    _tell(
        vars(done),
        f"Backup {done.name} is back. Run `{command_name()} audit`, then start the service.",
        as_json=as_json,
    )


def _tell(found: dict[str, object], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        out.print(sentence, soft_wrap=True)


def _silent(_sentence: str) -> None:
    """Say nothing: the answer is JSON."""
