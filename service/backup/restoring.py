"""The way back: files first, then all rows in one transaction, so that a kill leaves no half.

A restore that was interrupted goes on when it is started again: a note in the data folder says
which one it was, and whoever would start the service meanwhile is told.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from alembic.util import CommandError
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from service.backup.copying import digest_file, read_file, write_durably
from service.backup.manifest import Kept, Manifest, object_place, read_manifest
from service.catalog import backup_queries, dump
from service.catalog.backup_queries import RESTORE
from service.catalog.dump import BrokenDumpError
from service.catalog.ingest_queries import delete_video
from service.catalog.process_queries import note_run
from service.durable import sync_folder
from service.errors import ConflictError, InvalidInputError
from service.storage import Storage

log = structlog.get_logger(__name__)

NOTE = "restoring.json"
"""In the data folder while a restore is not finished."""
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore came to.

    Attributes:
        name: of the backup.
        num_rows: rows that were loaded; 0 if they were there from the try before.
        num_files: files that were brought back.
    """

    name: str
    num_rows: int
    num_files: int


def check_backup(folder: Path, name: str | None = None) -> Manifest:
    """Read every file of a backup, and return what it is.

    Raises:
        InvalidInputError: a file is missing or damaged.
        NotFoundError: there is no such backup.
    """
    manifest = read_manifest(folder, name)
    for place, kept in manifest.files:
        _check(folder / place, kept)
    return manifest


def restore(
    folder: Path,
    name: str | None = None,
    *,
    engine: Engine,
    storage: Storage,
    progress: Progress = lambda _sentence: None,
) -> Restored:
    """Bring a backup back into an empty database and an empty store; nothing else may run.

    Args:
        folder: of the backups.
        name: of the backup, the newest if None.
        engine: the database; of the other kind than the one that was backed up, if you like.
        storage: where the files go.
        progress: told what is being done, a sentence each.

    Raises:
        ConflictError: the database or the store is not empty, or another restore was begun.
        InvalidInputError: the backup is damaged, or of a newer Reelseek.
        NotFoundError: there is no such backup.
        StorageFullError: there is no room for the files.
    """
    manifest = read_manifest(folder, name)
    note = storage.root / NOTE
    if not _goes_on(note, manifest):
        _require_empty(engine, storage)
        write_durably(note, json.dumps({"sha256": manifest.database.sha256}).encode())
    progress("Checking the rows.")
    _check(folder / manifest.database.name, manifest.database)
    progress(f"Bringing back {len(manifest.blobs)} videos.")
    num_files = _bring_files(folder, manifest, storage)
    progress("Loading the rows.")
    num_rows = _load(folder, manifest, engine)
    note.unlink()
    sync_folder(storage.root)
    log.info("restored", name=manifest.name, rows=num_rows, files=num_files)
    return Restored(name=manifest.name, num_rows=num_rows, num_files=num_files)


def _goes_on(note: Path, manifest: Manifest) -> bool:
    """Tell whether this very restore was begun here, and interrupted."""
    if not note.exists():
        return False
    if json.loads(note.read_bytes()).get("sha256") == manifest.database.sha256:
        return True
    raise ConflictError(
        f"The restore of another backup was begun in {note.parent} and not finished: finish that "
        "one, or empty database and data folder."
    )


def _require_empty(engine: Engine, storage: Storage) -> None:
    with dump.snapshot(engine) as connection:
        if not dump.is_empty(connection):
            raise ConflictError(
                "The database is not empty. Name another one in REELSEEK_DATABASE_URL, or choose "
                "another REELSEEK_DATA_DIR: a restore overwrites nothing."
            )
    if any(next(iter(storage.store.stored(part)), None) for part in ("blobs/", "derived/")):
        raise ConflictError(
            "There are files of videos already. Choose another REELSEEK_DATA_DIR or "
            "REELSEEK_STORAGE_URL: a restore overwrites nothing."
        )


def _bring_files(folder: Path, manifest: Manifest, storage: Storage) -> int:
    count = 0
    for kept in (*manifest.blobs, *manifest.derived):
        if storage.store.size(kept.name) == kept.size_bytes:
            continue  # from the try before: a file is whole or not there
        draft = storage.staging / f"restore-{kept.sha256}"
        _copy_checked(folder / kept.name, kept, draft)
        storage.store.put(kept.name, draft)
        draft.unlink(missing_ok=True)
        count += 1
    for kept in manifest.models:
        target = storage.root / kept.name
        if not target.is_file() or digest_file(target) != kept.sha256:
            _copy_checked(folder / object_place(kept.sha256), kept, target)
            count += 1
    return count


def _copy_checked(source: Path, kept: Kept, target: Path) -> None:
    """Copy a file of the backup, durably, if it is what was kept.

    Raises:
        InvalidInputError: it is missing or damaged.
    """
    if not source.is_file():
        raise _damaged(source, "is missing")
    if write_durably(target, read_file(source)) != (kept.size_bytes, kept.sha256):
        target.unlink()
        raise _damaged(source, "is damaged")


def _check(path: Path, kept: Kept) -> None:
    if not path.is_file():
        raise _damaged(path, "is missing")
    if path.stat().st_size != kept.size_bytes or digest_file(path) != kept.sha256:
        raise _damaged(path, "is damaged")


def _damaged(path: Path, what: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {what}; choose another backup (`--name`).")


def _load(folder: Path, manifest: Manifest, engine: Engine) -> int:
    """Make the schema of the backup, load it, and bring it up to date, all in one transaction."""
    with engine.begin() as connection:
        if dump.revision_of(connection) is not None and _is_loaded(connection, manifest):
            return 0
        try:
            dump.upgrade_to(connection, manifest.revision)
        except CommandError as error:
            raise InvalidInputError(
                f"The backup was made by Reelseek {manifest.version}, whose schema "
                f"{manifest.revision} is not known here: install that version or a newer one."
            ) from error
        if dump.revision_of(connection) != manifest.revision:
            raise ConflictError(
                f"The database has a newer schema than the backup ({manifest.revision}): drop its "
                "tables, or name a new database; the restore makes the schema itself."
            )
        with gzip.open(folder / manifest.database.name, "rt", encoding="utf-8") as lines:
            try:
                num_rows = dump.load_rows(connection, lines)
            except BrokenDumpError as error:
                raise InvalidInputError(f"{manifest.database.name}: {error}.") from error
        dump.upgrade_to(connection, "head")
        _settle(connection, manifest)
    return num_rows


def _is_loaded(connection: Connection, manifest: Manifest) -> bool:
    """Tell whether the rows are there already, from a try that was killed after its commit."""
    with Session(connection) as session:
        return dump.has_table(connection, "last_runs") and (
            backup_queries.restored_from(session) == manifest.database.sha256
        )


def _settle(connection: Connection, manifest: Manifest) -> None:
    with Session(connection) as session:
        backup_queries.settle(session)
        for video_id in backup_queries.videos_of(session, manifest.gone):
            delete_video(session, video_id)  # as was done while the backup was made
        result = {"name": manifest.name, "sha256": manifest.database.sha256}
        note_run(session, RESTORE, result)
        session.flush()
