"""Snapshot files: a base that was built once and that other starts map instead of building.

One file: what FAISS writes, then the keys (an .npz), then the length of FAISS's part. Nothing in
it is parsed before its digest was compared with that of its row.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast
from uuid import uuid4

import faiss
import numpy as np
import structlog
from sqlalchemy.orm import Session

from service.catalog.change_queries import Counter
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.index_queries import newest_snapshots
from service.catalog.replica_queries import (
    add_snapshot,
    all_snapshot_paths,
    read_chain,
    remove_snapshots,
)
from service.catalog.session import Sessions
from service.catalog.tables import Snapshot
from service.durable import make_durable_folder, sync_folder
from service.index.faiss_index import FaissIndex, Keys, Near
from service.index.kinds import BaseKind, IndexKind, fits
from service.index.view import IndexView

log = structlog.get_logger(__name__)

KEPT = 2
ORPHAN_AGE_S = 3600.0  # older files that no row names are of a crash
LENGTH = struct.Struct("<Q")
SUFFIX, TEMPORARY = ".snapshot", ".tmp"


class BadSnapshotError(Exception):
    """The file is not what its row says, or belongs to another history."""


class SnapshotStore:
    """The snapshot files of a data folder and their rows.

    Args:
        folder: where the files are.
        sessions: transactions that write.
        max_behind: a snapshot that is more changes behind than this is not used.
    """

    def __init__(self, folder: Path, sessions: Sessions, *, max_behind: int = 10_000) -> None:
        self._folder = folder
        self._sessions = sessions
        self._max_behind = max_behind

    def load(
        self, session: Session, generation: ActiveGeneration, counter: Counter, *, kind: IndexKind
    ) -> IndexView | None:
        """Return the newest view that a good snapshot holds, or None.

        Args:
            session: a reading session.
            generation: whose snapshot.
            counter: how far the change log has come.
            kind: of the index that is wanted; a flat one is given where a near one is to be made.
        """
        for row in newest_snapshots(session, generation.generation_id):
            try:
                return self._open(session, row, generation, counter, kind)
            except (BadSnapshotError, OSError) as error:
                log.warning("snapshot_skipped", path=row.path, seq=row.seq, error=str(error))
        return None

    def save(self, view: IndexView) -> bool:
        """Publish the base of a freshly loaded view, unless another process is at it.

        Returns:
            Whether it was published.
        """
        make_durable_folder(self._folder)
        with self._only_builder() as is_mine:
            if not is_mine:
                return False
            name = f"{view.generation_id}-{view.seq}-{uuid4().hex[:8]}{SUFFIX}"
            digest = self._write(name, view)
            with self._sessions.begin() as session:
                add_snapshot(
                    session,
                    generation_id=view.generation_id,
                    epoch=view.epoch,
                    seq=view.seq,
                    path=name,
                    sha256=digest,
                )
            self._prune(view)
        log.info("snapshot_saved", path=name, seq=view.seq, segments=len(view.base))
        return True

    def _open(
        self,
        session: Session,
        row: Snapshot,
        generation: ActiveGeneration,
        counter: Counter,
        kind: IndexKind,
    ) -> IndexView:
        if row.epoch != counter.epoch or row.seq > counter.seq:
            raise BadSnapshotError("it is of another history")
        if counter.seq - row.seq > self._max_behind:
            raise BadSnapshotError(f"it is {counter.seq - row.seq} changes behind")
        path = self._path_of(row.path)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != row.sha256:
                raise BadSnapshotError("its digest is another")
        chain = read_chain(session, row.seq)
        return _read(path, row=row, chain=chain, generation=generation, kind=kind)

    def _path_of(self, name: str) -> Path:
        if Path(name).name != name:
            raise BadSnapshotError("its name leads elsewhere")
        return self._folder / name

    def _write(self, name: str, view: IndexView) -> str:
        """Write the file durably and return its digest."""
        temporary = self._folder / (name + TEMPORARY)
        try:
            faiss.write_index(view.base.index, str(temporary))
            with temporary.open("ab") as file:
                length = file.tell()
                file.write(_pack(view))
                file.write(LENGTH.pack(length))
                file.flush()
                os.fsync(file.fileno())
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            temporary.rename(self._folder / name)
            sync_folder(self._folder)
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def _prune(self, view: IndexView) -> None:
        """Remove all but the newest snapshots: rows first, then files that no row names."""
        with self._sessions.begin() as session:
            old = newest_snapshots(session, view.generation_id)[KEPT:]
            old_paths = {row.path for row in old}
            remove_snapshots(session, [row.id for row in old])
        with self._sessions() as session:
            named = all_snapshot_paths(session)
        for path in self._folder.glob(f"*{SUFFIX}*"):
            with contextlib.suppress(FileNotFoundError):
                is_old = time.time() - path.stat().st_mtime > ORPHAN_AGE_S
                if path.name in old_paths or (is_old and path.name not in named):
                    path.unlink()

    @contextlib.contextmanager
    def _only_builder(self) -> Iterator[bool]:
        """Take the lock of the folder if it is free; the system gives it back if we die."""
        descriptor = os.open(self._folder / ".builder", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _pack(view: IndexView) -> bytes:
    """Return the keys of the base, and what it is of, as the bytes of an .npz."""
    keys = view.base.keys
    buffer = io.BytesIO()
    np.savez(
        buffer,
        kind=np.array(view.kind),
        near=np.array(json.dumps(asdict(near) if (near := view.base.near) else None)),
        chain=np.array(view.chain),
        video_ids=keys.video_ids.view("u1"),
        versions=keys.versions,
        seqs=keys.seqs,
        slots=keys.slots,
        ordinals=keys.ordinals,
    )
    return buffer.getvalue()


def _read(
    path: Path, *, row: Snapshot, chain: str | None, generation: ActiveGeneration, kind: IndexKind
) -> IndexView:
    """Map a file whose digest is right."""
    with path.open("rb") as file:
        end = file.seek(-LENGTH.size, os.SEEK_END)
        (length,) = LENGTH.unpack(file.read(LENGTH.size))
        file.seek(length)
        packed = np.load(io.BytesIO(file.read(end - length)), allow_pickle=False)
    if str(packed["chain"]) != chain:
        raise BadSnapshotError("it is of another history")
    found = str(packed["kind"])
    if not fits(found, kind):
        raise BadSnapshotError(f"it is {found}, not {kind}")
    keys = Keys(
        video_ids=packed["video_ids"].view("S16"),
        versions=packed["versions"],
        seqs=packed["seqs"],
        slots=packed["slots"],
        ordinals=packed["ordinals"],
    )
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)  # processes share the pages
    near = json.loads(str(packed["near"])) if "near" in packed else None
    base = FaissIndex(
        index, keys, kind=cast("BaseKind", found), near=Near(**near) if near else None
    )
    if base.dim != int(generation.spec["embedding_dim"]):
        raise BadSnapshotError(f"its embeddings are {base.dim} wide")
    return IndexView(
        generation_id=generation.generation_id,
        model_version_id=generation.model_version_id,
        epoch=row.epoch,
        seq=row.seq,
        chain=str(packed["chain"]),
        base=base,
        is_dead=np.zeros(len(keys.seqs), np.bool_),
        delta=FaissIndex.empty(base.dim),
    )
