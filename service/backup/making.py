"""Making a backup while everything goes on.

The rows are read in one snapshot, then the files that they name are copied: a file is durable
before the row that names it, and is kept for a grace time after its row is gone. Blobs and clips
never change, so a folder that holds earlier backups is sent only what is new.
"""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine

from service.backup import manifest as manifests
from service.backup.collecting import Collector
from service.backup.copying import remove_drafts, write_durably
from service.backup.manifest import DATABASES, Kept, Manifest
from service.catalog import backup_queries, dump
from service.catalog.backup_queries import Named
from service.catalog.process_queries import note_run
from service.catalog.session import in_transaction, make_read_sessions, make_sessions
from service.errors import ConflictError
from service.observing.installation import BACKUP
from service.storage import Storage

log = structlog.get_logger(__name__)

COMPRESSION = 1  # embeddings hardly shrink
LINES_AT_ONCE = 1000
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a backup came to.

    Attributes:
        name: of the backup.
        folder: where it is.
        num_videos: uploaded files in it.
        num_copied: files that were not in the folder yet.
        copied_bytes: their size.
        removed: names of older backups that were removed.
    """

    name: str
    folder: Path
    num_videos: int
    num_copied: int
    copied_bytes: int
    removed: list[str]


def make_backup(
    folder: Path,
    *,
    engine: Engine,
    storage: Storage,
    keep: int | None = None,
    progress: Progress = lambda _sentence: None,
) -> Made:
    """Add a backup to a folder.

    Args:
        folder: on another disk; made if it is not there.
        engine: the database.
        storage: the files.
        keep: remove older backups than the newest so many; None keeps all.
        progress: told what is being done, a sentence each.

    Raises:
        ConflictError: one is being made there, the schema is not at the newest migration, or a
            model was retired meanwhile.
        NotFoundError: a file that the database names is missing.
        StorageFullError: the folder's disk is full.
        StorageUnavailableError: the object store is away.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # rows hold the secrets of webhooks
    with manifests.locked(folder):
        remove_drafts(folder)
        progress("Writing the rows.")
        begun, named = _dump(folder, engine)
        progress(f"Copying what is new of {len(named.blobs)} videos.")
        collector = Collector(folder, storage, make_read_sessions(engine))
        made = replace(
            begun,
            blobs=collector.copy_blobs(named.blobs),
            derived=collector.copy_derived(named.derived),
            models=collector.copy_models(),
            gone=sorted(collector.gone),
        )
        made.write(folder)
        removed = manifests.prune(folder, keep) if keep is not None else []
    result = {"name": made.name, "folder": str(folder.absolute()), "videos": len(made.blobs)}
    in_transaction(make_sessions(engine), lambda session: note_run(session, BACKUP, result))
    log.info("backup_made", **result)
    return Made(
        name=made.name,
        folder=folder,
        num_videos=len(made.blobs),
        num_copied=collector.num_copied,
        copied_bytes=collector.copied_bytes,
        removed=removed,
    )


def _dump(folder: Path, engine: Engine) -> tuple[Manifest, Named]:
    """Write the rows as they are at one moment, and return what they name."""
    name = _free_name(folder)
    place = f"{DATABASES}/{name}.jsonl.gz"
    with dump.snapshot(engine) as connection:
        revision = dump.require_newest(connection)
        if revision is None:
            raise ConflictError("The schema is not the newest: run `reelseek migrate` first.")
        epoch, seq = backup_queries.read_position(connection)
        named = backup_queries.read_named(connection)
        kept = Kept(place, *write_durably(folder / place, _compressed(connection)))
    begun = Manifest(
        name=name,
        version=version("reelseek"),
        revision=revision,
        epoch=epoch,
        seq=seq,
        database=kept,
    )
    return begun, named


def _compressed(connection: Connection) -> Iterator[bytes]:
    lines = dump.dump_rows(connection)
    while some := list(islice(lines, LINES_AT_ONCE)):  # gzip files may be strung together
        yield gzip.compress("".join(f"{line}\n" for line in some).encode(), COMPRESSION)


def _free_name(folder: Path) -> str:
    """Return the time as a name; no two backups of a folder have the same."""
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    newest = manifests.list_backups(folder)[-1:]
    if newest and name <= newest[0]:
        raise ConflictError(f"The backup {newest[0]} was just made in {folder}; wait a second.")
    return name
