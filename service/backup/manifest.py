"""A backup folder: what is in it, and which files belong to which backup.

`databases/<name>.jsonl.gz` the rows; `manifests/<name>.json` written last, so that a backup is
whole or not there; `blobs/`, `derived/` the files as they are stored, shared by all backups of the
folder; `objects/` files of models, by their content.
"""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from service.backup.copying import write_durably
from service.durable import sync_folder
from service.errors import ConflictError, InvalidInputError, NotFoundError

FORMAT = 1
MANIFESTS, DATABASES, OBJECTS = "manifests", "databases", "objects"
PARTS = (DATABASES, OBJECTS, "blobs", "derived")
NAME = re.compile(r"\d{8}T\d{6}Z")
LOCK = ".lock"


class Kept(NamedTuple):
    """A file of a backup: its name where it was, its size and its SHA-256."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What belongs to one backup.

    Attributes:
        name: when it was made, UTC.
        version: of Reelseek that made it.
        revision: of the schema of its rows.
        epoch: history of the change log; a restore begins another.
        seq: newest change in it.
        database: the dump.
        blobs: uploaded files.
        derived: clips and thumbnails.
        models: files of added models, kept by content.
        gone: files and folders that were deleted while the backup was made, with their videos.
    """

    name: str
    version: str
    revision: str
    epoch: str
    seq: int
    database: Kept
    blobs: list[Kept] = field(default_factory=list)
    derived: list[Kept] = field(default_factory=list)
    models: list[Kept] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    format: int = FORMAT

    @property
    def files(self) -> Iterator[tuple[str, Kept]]:
        """Every file, with its place below the backup folder."""
        yield self.database.name, self.database
        for kept in (*self.blobs, *self.derived):
            yield kept.name, kept
        for kept in self.models:
            yield object_place(kept.sha256), kept

    def write(self, folder: Path) -> None:
        """Make the backup whole: this is the last thing that is written."""
        text = json.dumps(asdict(self), separators=(",", ":"))
        write_durably(folder / MANIFESTS / f"{self.name}.json", text.encode())


def object_place(sha256: str) -> str:
    """Return where a file lies that is kept by its content."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256[2:]}"


def list_backups(folder: Path) -> list[str]:
    """Return the names of all whole backups of a folder, the oldest first."""
    found = (path.stem for path in (folder / MANIFESTS).glob("*.json"))
    return sorted(name for name in found if NAME.fullmatch(name))


def read_manifest(folder: Path, name: str | None = None) -> Manifest:
    """Return a backup, the newest if no name is given.

    Raises:
        NotFoundError: there is none, or none of this name.
        InvalidInputError: it was made by a newer Reelseek, or is damaged.
    """
    names = list_backups(folder)
    if name is None and not names:
        raise NotFoundError(f"There is no backup in {folder}.")
    if name is not None and name not in names:
        known = ", ".join(names[-5:]) or "none"
        raise NotFoundError(f"There is no backup {name} in {folder}; there are: {known}.")
    path = folder / MANIFESTS / f"{name or names[-1]}.json"
    try:
        return _parse(json.loads(path.read_bytes()))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(
            f"{path} is damaged or made by a newer Reelseek ({error}); choose another backup."
        ) from error


def prune(folder: Path, keep: int) -> list[str]:
    """Remove all but the newest backups, and the files that only they named.

    The manifests go first: a backup whose files are partly gone must not look whole.

    Args:
        folder: of the backups, locked.
        keep: how many stay.

    Returns:
        The names of those that were removed.
    """
    names = list_backups(folder)
    removed = names[: max(0, len(names) - keep)]
    if not removed:
        return []
    wanted = {
        place for name in names[len(removed) :] for place, _ in read_manifest(folder, name).files
    }
    for name in removed:
        (folder / MANIFESTS / f"{name}.json").unlink()
    sync_folder(folder / MANIFESTS)
    for path in [path for part in PARTS for path in (folder / part).rglob("*")]:
        if path.is_file() and path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    return removed


def _parse(read: dict[str, Any]) -> Manifest:
    if read["format"] != FORMAT:
        raise ValueError(f"format {read['format']}")
    lists = {name: [Kept(*one) for one in read[name]] for name in ("blobs", "derived", "models")}
    return Manifest(**{**read, **lists, "database": Kept(*read["database"])})


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep two backups from being made in a folder at once.

    Raises:
        ConflictError: one is being made.
    """
    with (folder / LOCK).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"Another backup is being made in {folder}.") from None
        yield
