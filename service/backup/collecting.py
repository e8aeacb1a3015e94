"""Copies what a backup needs and its folder does not have yet."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

from service.backup.copying import (
    digest_file,
    read_file,
    read_stored,
    write_durably,
)
from service.backup.manifest import Kept, list_backups, object_place, read_manifest
from service.catalog import backup_queries
from service.catalog.session import Sessions
from service.errors import ConflictError, NotFoundError
from service.registry import DRAFT, FOLDER, KEPT, LOCK, REPLACED
from service.storage import Storage
from service.storage.derived import CLIPS, THUMBNAILS
from service.storage.names import blob_name, derived_file

UNSTORED = (DRAFT, REPLACED, LOCK)


class Collector:
    """Copies files into a backup folder; those that are there already stay as they are.

    Args:
        folder: of the backups, locked.
        storage: where the files are.
        reads: to ask whether a file that is missing was deleted meanwhile.
    """

    def __init__(self, folder: Path, storage: Storage, reads: Sessions) -> None:
        self.num_copied = self.copied_bytes = 0
        self.gone: set[str] = set()
        self._folder = folder
        self._storage = storage
        self._reads = reads
        newest = list_backups(folder)[-1:]
        self._known = (
            {kept.name: kept for kept in read_manifest(folder, newest[0]).derived} if newest else {}
        )

    def copy_blobs(self, blobs: dict[str, int]) -> list[Kept]:
        """Copy uploaded files, and return those that there are.

        Raises:
            NotFoundError: a file that is damaged or missing, though its video is not deleted.
        """
        copied = []
        for sha256, size_bytes in blobs.items():
            wanted = Kept(blob_name(sha256), size_bytes, sha256)
            if self._has(wanted):
                copied.append(wanted)
                continue
            found = self._copy(wanted.name)
            if found == wanted:
                copied.append(wanted)
                continue
            with self._reads() as session:
                if backup_queries.is_blob_live(session, sha256):
                    self._forget(wanted.name)
                    raise _damaged(wanted.name, is_missing=found is None)
            self._forget(wanted.name)
            self.gone.add(wanted.name)
        return copied

    def copy_derived(self, names: Iterable[str]) -> list[Kept]:
        """Copy clips and thumbnails.

        Raises:
            NotFoundError: they are missing, though their video is not deleted.
            ConflictError: they were taken away with a model, as it was retired just now.
        """
        copied: list[Kept] = []
        for name in names:
            wanted = {derived_file(name, file) for file in (CLIPS, THUMBNAILS)}
            files = list(self._storage.store.stored(f"{name}/"))
            found = [self._copy_once(file.name, file.size_bytes) for file in files]
            # a sweep may have taken the first of them away before the list was read
            if {file.name for file in files} != wanted or None in found:
                self._require_deleted(name)
                self.gone.add(name)
                continue
            copied += [kept for kept in found if kept is not None]
        return copied

    def _require_deleted(self, name: str) -> None:
        with self._reads() as session:
            if backup_queries.is_derived_named(session, name):
                raise _damaged(name, is_missing=True)
            if backup_queries.is_video_live(session, UUID(name.split("/")[1])):
                # its rows in this backup name clips that nobody has any more
                raise ConflictError(
                    "A model was retired while the backup was made; make the backup again."
                )

    def copy_models(self) -> list[Kept]:
        """Copy the models of the data folder, by content: a name may be given to another one."""
        copied = []
        for path in self._model_files():
            sha256 = digest_file(path)
            place = self._folder / object_place(sha256)
            if not place.exists():
                self._count(write_durably(place, read_file(path))[0])
            name = path.relative_to(self._storage.root).as_posix()
            copied.append(Kept(name, path.stat().st_size, sha256))
        return copied

    def _model_files(self) -> Iterator[Path]:
        for part in (FOLDER, KEPT):
            for path in sorted((self._storage.root / part).rglob("*")):
                inside = path.relative_to(self._storage.root / part)
                if path.is_file() and not inside.parts[0].startswith(UNSTORED):
                    yield path

    def _has(self, kept: Kept) -> bool:
        place = self._folder / kept.name
        return place.is_file() and place.stat().st_size == kept.size_bytes

    def _copy_once(self, name: str, size_bytes: int) -> Kept | None:
        known = self._known.get(name)
        if known is not None and known.size_bytes == size_bytes and self._has(known):
            return known
        return self._copy(name)

    def _copy(self, name: str) -> Kept | None:
        """Copy a stored file; None if there is none."""
        try:
            if self._storage.store.size(name) is None:
                return None
            size_bytes, sha256 = write_durably(
                self._folder / name, read_stored(self._storage.store, name)
            )
        except FileNotFoundError:  # removed this moment
            return None
        self._count(size_bytes)
        return Kept(name, size_bytes, sha256)

    def _forget(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def _count(self, num_bytes: int) -> None:
        self.num_copied += 1
        self.copied_bytes += num_bytes


def _damaged(name: str, *, is_missing: bool) -> NotFoundError:
    what = "is missing" if is_missing else "is damaged"
    return NotFoundError(
        f"{name} {what}, though the database names it; `reelseek audit` says which video that is. "
        "Delete that video, or bring the file back from an earlier backup; then try again."
    )
