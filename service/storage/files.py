"""The files of an installation. A file is durable before the row that names it is committed.

Complete files are kept by a store, below the data folder or in a bucket; what is being written, and
what belongs to this machine, lies below the data folder.
"""

import contextlib
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np

from service.durable import sync_file
from service.errors import NotFoundError, PayloadTooLargeError
from service.storage import derived, names
from service.storage.derived import CLIPS, THUMBNAILS, DerivedDraft
from service.storage.disk import Disk, age_s
from service.storage.folder import FolderStore
from service.storage.names import StoredBlob, StoredFolder
from service.storage.staging import StagedFile, Staging, is_held
from service.storage.store import Store, StoredFile

TUNINGS = "tunings"
WINDOW_BYTES = 1024 * 1024
"""Read at once of a file that is handed on: what each reader holds in memory."""


class Storage:
    """The files of one installation.

    Everything that reads or keeps stored files raises StorageUnavailableError if the store is away.

    Args:
        root: the data folder.
        limit_bytes: largest file accepted.
        reserve_bytes: free disk that is kept free.
        store: keeps complete files; the data folder if None.
    """

    def __init__(
        self, root: Path, *, limit_bytes: int, reserve_bytes: int = 0, store: Store | None = None
    ) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self.disk = Disk(root, reserve_bytes)
        self.staging, self.snapshots = root / "staging", root / "snapshots"
        for folder in (self.staging, self.snapshots):
            folder.mkdir(parents=True, exist_ok=True)
        self.store = store or FolderStore(root)

    def tuning_folder(self, tuning_id: UUID) -> Path:
        """Return where a tuning run works, or would."""
        return self.root / TUNINGS / str(tuning_id)

    def tunings_on_disk(self) -> Iterator[tuple[UUID, Path]]:
        """Yield the id and the folder of every tuning run that has one."""
        for path in (self.root / TUNINGS).glob("*"):
            with contextlib.suppress(ValueError):
                yield UUID(path.name), path

    def free_bytes(self) -> int:
        """Return how much may still be written to the disk of the data folder."""
        return self.disk.free_bytes()

    def check_space(self, num_bytes: int) -> None:
        """Raise StorageFullError if that disk has no room for so much more."""
        self.disk.check_space(num_bytes)

    def open_staging(self, expected_bytes: int | None = None) -> Staging:
        """Begin to receive a file.

        Args:
            expected_bytes: its size if the sender says so; checked before the first byte.

        Raises:
            PayloadTooLargeError: more than the limit was announced.
            StorageFullError: the disk has no room for it.
        """
        if expected_bytes is not None and expected_bytes > self.limit_bytes:
            raise PayloadTooLargeError(
                f"The file is larger than the limit of {self.limit_bytes} bytes."
            )
        self.check_space(expected_bytes or 1)
        path = self.staging / f"upload-{uuid4().hex}"
        return Staging(path, self.disk, limit_bytes=self.limit_bytes)

    def send_ahead(self, staged: StagedFile) -> None:
        """Bring a finished file to a remote store before the transaction that publishes it.

        Else the transaction would last as long as the network needs for the file.
        """
        if self.store.is_remote:
            self.publish(staged)

    def publish(self, staged: StagedFile) -> None:
        """Give a finished file its place, by its content; harmless if it has one.

        Call it inside the transaction that has locked the row of the blob: the sweeper removes
        only under that lock.
        """
        name = names.blob_name(staged.sha256)
        if self.store.size(name) != staged.size_bytes:
            self.store.put(name, staged.path)

    def blob_size(self, sha256: str) -> int | None:
        """Return how large an uploaded file is; None if it is not there."""
        return self.store.size(names.blob_name(sha256))

    def local_blob(self, sha256: str) -> contextlib.AbstractContextManager[Path]:
        """Return where an uploaded file can be read on this machine, inside of the context.

        Raises:
            FileNotFoundError: it is not there.
            StorageFullError: this machine has no room for it.
        """
        return self.store.local(names.blob_name(sha256))

    def stay_blob(self, sha256: str, folder: Path) -> Path:
        """Return where an uploaded file can be read for as long as a folder is there.

        Nothing is there if it is gone, as after a delete.

        Raises:
            StorageFullError: this machine has no room for it.
        """
        return self.store.stay(names.blob_name(sha256), folder)

    def open_blob_range(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """Begin to read a part of an uploaded file, a window at a time.

        Args:
            sha256: of the file.
            start: offset of the first byte.
            stop: offset behind the last one, at most the size of the file.

        Raises:
            FileNotFoundError: it is not there; raised before the first byte.
        """
        name = names.blob_name(sha256)

        def read(at: int) -> bytes:
            wanted = min(WINDOW_BYTES, stop - at)
            window = self.store.read(name, at, wanted)
            if len(window) != wanted:
                raise OSError(f"{name} ends before byte {at + wanted}")
            return window

        def rest() -> Iterator[bytes]:
            yield first
            for at in range(start + WINDOW_BYTES, stop, WINDOW_BYTES):
                yield read(at)

        first = read(start)
        return rest()

    def blob_url(self, sha256: str, *, ttl_s: int) -> str | None:
        """Return an address at which anybody may read a file for so long, if there is one."""
        return self.store.url(names.blob_name(sha256), ttl_s=ttl_s)

    def remove_blob(self, sha256: str) -> None:
        """Remove an uploaded file; call it with the row of the blob locked."""
        self.store.remove(names.blob_name(sha256))

    def stored_blobs(self) -> Iterator[StoredBlob]:
        """Yield every uploaded file."""
        return names.blobs_among(self.store.stored(names.BLOBS))

    def put_part(self, name: str, path: Path) -> None:
        """Keep a piece of an upload where every process can read it; durable when this returns.

        A piece of the same name is replaced.

        Args:
            name: `<upload id>/<offset of its first byte>`.
            path: a file of `staging`; it is gone afterwards.

        Raises:
            StorageFullError: the disk is full.
        """
        stored = names.part_name(name)
        sync_file(path)
        self.store.put(stored, path)
        path.unlink(missing_ok=True)

    def read_part(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a piece, at most 1 MiB at a time.

        Raises:
            NotFoundError: there is no such piece.
        """
        stored = names.part_name(name)
        with _missing_is_said("A piece of this upload is gone. Upload the file again."):
            start = 0
            while window := self.store.read(stored, start, WINDOW_BYTES):
                yield window
                start += len(window)

    def remove_part(self, name: str) -> None:
        """Remove a piece; harmless if it is gone."""
        self.store.remove(names.part_name(name))

    def stored_parts(self) -> Iterator[StoredFile]:
        """Yield every piece of an upload, by the name that it was put by."""
        for part in self.store.stored(names.UPLOADS):
            yield part._replace(name=part.name.removeprefix(names.UPLOADS))

    def open_derived(self, video_id: UUID, job_id: UUID, fence: int) -> DerivedDraft:
        """Begin the folder of clips and thumbnails that one attempt of a job makes."""
        work = self.staging / names.work_name(job_id, fence)
        shutil.rmtree(work, ignore_errors=True)  # the same attempt, begun again
        work.mkdir()
        return DerivedDraft(self.store, work, names.derived_name(video_id, job_id, fence))

    def read_clip(self, name: str, position: int) -> np.ndarray:
        """Return the stored clip of a segment, uint8 (T, S, S, 3).

        Args:
            name: `derived` of its video.
            position: `position` of the segment.

        Raises:
            NotFoundError: the folder is gone, as after a delete.
        """
        stored = names.derived_file(name, CLIPS)
        with _missing_is_said("The clips and thumbnails of this video are gone."):
            return derived.read_clip(self.store, stored, position)

    def read_thumbnail(self, name: str, offset: int, num_bytes: int) -> bytes:
        """Return the JPEG of a segment.

        Raises:
            NotFoundError: the folder is gone, as after a delete.
        """
        stored = names.derived_file(name, THUMBNAILS)
        with _missing_is_said("The clips and thumbnails of this video are gone."):
            return self.store.read(stored, offset, num_bytes, often=True)

    def map_clips(self, name: str) -> np.ndarray:
        """Return all clips of a folder, uint8 (N, T, S, S, 3), without reading them yet.

        Raises:
            FileNotFoundError: the folder is gone, as after a delete.
            ValueError: the file is damaged.
        """
        with self.store.local(names.derived_file(name, CLIPS)) as path:
            # what is mapped stays readable, also when the file is removed
            clips: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return clips

    def stay_clips(self, name: str, folder: Path) -> Path:
        """Return where the file of clips can be read for as long as a folder is there.

        Nothing is there if it is gone, as after a delete.
        """
        return self.store.stay(names.derived_file(name, CLIPS), folder)

    def count_clips(self, name: str) -> int:
        """Return how many clips a folder holds.

        Raises:
            FileNotFoundError: the folder is gone.
            ValueError: it is no folder of clips, or the file is damaged.
        """
        return derived.count_clips(self.store, names.derived_file(name, CLIPS))

    def stored_derived(self) -> Iterator[StoredFolder]:
        """Yield every folder of clips and thumbnails."""
        return names.folders_among(self.store.stored(names.DERIVED))

    def remove_derived(self, folder: StoredFolder) -> None:
        """Remove a folder of clips and thumbnails."""
        for name in folder.files:
            self.store.remove(name)

    def stale_staging(self, *, older_than_s: float, keep: Collection[str]) -> Iterator[Path]:
        """Yield what was being written, has not been touched for long, and is used by nobody.

        Args:
            older_than_s: age in seconds.
            keep: names (`work_name`) that belong to running jobs.
        """
        for path in self.staging.iterdir():
            is_old = path.name not in keep and age_s(path) > older_than_s
            if is_old and not (path.is_file() and is_held(path)):
                yield path


@contextlib.contextmanager
def _missing_is_said(detail: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(detail) from error
