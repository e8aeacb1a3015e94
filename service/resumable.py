"""Uploads that arrive in pieces: what was acknowledged is durable, wherever the next piece goes.

A piece is put into the storage first; then one transaction, under the lock of the upload, counts
it. When the last one is there they are joined, probed, and accepted as any other upload is. A
process that dies before the answer leaves a complete upload, finished when it is asked for next.
"""

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy.orm import Session

from service import uploads
from service.catalog import resumable_queries as queries
from service.catalog.ingest_queries import MediaFacts
from service.catalog.session import Sessions, in_transaction
from service.catalog.upload_tables import ResumableUpload, UploadPart, UploadState
from service.errors import (
    ConflictError,
    NotFoundError,
    PayloadTooLargeError,
    RefusedMediaError,
    TooManyRequestsError,
)
from service.housekeeping import drop_parts
from service.idempotency import IdempotencyToken
from service.jobs import JobSender
from service.metadata import UploadMetadata, clean_file_name
from service.quotas import Quotas
from service.storage import StagedFile, Storage

MAX_OPEN = 1000
MAX_PARTS = 20_000
ACCEPTED_BY = "resumable upload"
"""Owner of the idempotency keys by which complete uploads are accepted once."""


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """What the sender says before the first byte.

    Attributes:
        owner: `key_id` of who sends it.
        length: bytes of the whole file.
        file_name: as the sender calls it; only shown.
        metadata: what the sender says about the video.
        header: the metadata as they came, to be given back.
    """

    owner: str
    length: int
    file_name: str | None
    metadata: UploadMetadata
    header: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resumables:
    """Uploads in pieces, and what they need.

    Attributes:
        sessions: writing sessions.
        storage: where pieces and files are kept.
        sender: wakes a worker.
        quotas: how much may be uploaded.
        probe: looks what a file is; raises RefusedMediaError if it is no video.
        keep_s: how long an upload is kept that stands still, seconds.
    """

    sessions: Sessions
    storage: Storage
    sender: JobSender
    quotas: Quotas
    probe: Callable[[Path], MediaFacts]
    keep_s: float

    def create(self, new: NewUpload) -> ResumableUpload:
        """Begin an upload.

        Raises:
            RefusedMediaError: it is empty.
            PayloadTooLargeError: it is larger than what is accepted.
            StorageFullError: there is no room for it.
            TooManyRequestsError: its owner has too many open ones, or uploaded enough today; those
                that are open count as they were announced.
        """
        if new.length == 0:
            raise RefusedMediaError("The file is empty.", reason="empty_file")
        if new.length > self.storage.limit_bytes:
            raise PayloadTooLargeError(
                f"The file is larger than the limit of {self.storage.limit_bytes} bytes."
            )
        self.storage.check_space(new.length)
        return in_transaction(self.sessions, partial(self._create, new=new))

    def _create(self, session: Session, *, new: NewUpload) -> ResumableUpload:
        # what is announced counts, or a thousand uploads could each begin within a quota for one
        announced = queries.announced_bytes(session, new.owner)
        self.quotas.check_upload(session, new.owner, announced + new.length)
        if queries.num_open(session, new.owner) >= MAX_OPEN:
            raise TooManyRequestsError(
                f"This key has {MAX_OPEN} unfinished uploads. Finish or delete some first.",
                reason="too_many_open_uploads",
                retry_after_s=60,
            )
        return queries.add_upload(
            session,
            keep_s=self.keep_s,
            owner=new.owner,
            length=new.length,
            offset=0,
            file_name=clean_file_name(new.file_name) if new.file_name else None,
            request={"header": new.header, "metadata": asdict(new.metadata)},
        )

    def read(self, upload_id: UUID, *, owner: str | None) -> ResumableUpload:
        """Return an upload.

        Args:
            upload_id: which one.
            owner: whose it must be; None: anybody's.

        Raises:
            NotFoundError: there is none, it is somebody else's, or it has expired.
        """
        with self.sessions() as session:
            upload = queries.get_upload(session, upload_id)
        if owner is not None and upload.owner != owner:
            raise NotFoundError(f"There is no upload {upload_id}.")
        return upload

    def keep_piece(self, upload_id: UUID, start: int, piece: StagedFile) -> ResumableUpload:
        """Keep a piece and count it; it is gone from the staging folder afterwards.

        Args:
            upload_id: of which upload.
            start: offset of its first byte.
            piece: its bytes.

        Raises:
            ConflictError: the upload goes on elsewhere than at `start`, or has ended.
            NotFoundError: it was removed meanwhile.
        """
        # A name of its own: two pieces for one place must not replace each other
        name = f"{upload_id}/{secrets.randbelow(10**18)}"
        try:
            self.storage.put_part(name, piece.path)
            part = partial(
                UploadPart, name=name, upload_id=upload_id, start=start, size_bytes=piece.size_bytes
            )
            return in_transaction(self.sessions, lambda session: self._count(session, part()))
        except (ConflictError, NotFoundError):
            self.storage.remove_part(name)
            raise
        finally:
            piece.discard()

    def _count(self, session: Session, part: UploadPart) -> ResumableUpload:
        upload = queries.get_upload(session, part.upload_id, lock=True)
        check_offset(upload, part.start)
        if queries.num_parts(session, upload.id) >= MAX_PARTS:
            raise ConflictError(
                f"An upload has at most {MAX_PARTS} pieces. Begin again with larger ones.",
                reason="too_many_pieces",
            )
        queries.add_part(session, upload, part, keep_s=self.keep_s)
        return upload

    def finish(self, upload_id: UUID) -> ResumableUpload:
        """Accept an upload of which every byte came; harmless if it is accepted already.

        Raises:
            RefusedMediaError: it is no video; the upload has ended.
            StorageFullError, UnavailableError, TooManyRequestsError: not now; it stays open.
        """
        upload = self.read(upload_id, owner=None)
        if upload.state is UploadState.REFUSED:
            _raise_refusal(upload)
        if upload.state is UploadState.ACCEPTED or upload.offset < upload.length:
            return upload
        try:
            accepted = self._accept(upload)
        except (RefusedMediaError, NotFoundError) as error:  # no video, or a piece is lost
            close = partial(_close, upload_id=upload_id, state=UploadState.REFUSED)
            ended = self._end(upload, partial(close, reason=error.reason, detail=error.detail))
            if ended.state is UploadState.ACCEPTED:  # another one did, and took the pieces away
                return ended
            _raise_refusal(ended)
        close = partial(_close, upload_id=upload_id, state=UploadState.ACCEPTED)
        return self._end(upload, partial(close, video_id=accepted.video_id, job_id=accepted.job_id))

    def _accept(self, upload: ResumableUpload) -> uploads.Accepted:
        staged = self._join(upload)
        try:
            return uploads.accept(
                uploads.Upload(
                    staged=staged,
                    file_name=upload.file_name,
                    metadata=_metadata_of(upload),
                    facts=self.probe(staged.path),
                ),
                sessions=self.sessions,
                storage=self.storage,
                sender=self.sender,
                # One video, even if two processes finish it, or one dies before it says so
                idempotency=IdempotencyToken(owner=ACCEPTED_BY, key=str(upload.id)),
                owner=upload.owner,
                quotas=self.quotas,
            )
        finally:
            staged.discard()

    def _join(self, upload: ResumableUpload) -> StagedFile:
        with self.sessions() as session:
            parts = queries.parts_of(session, upload.id)
        with self.storage.open_staging(upload.length) as staging:
            for part in parts:
                if part.start != staging.size_bytes:
                    break
                for chunk in self.storage.read_part(part.name):
                    staging.write(chunk)
            if staging.size_bytes != upload.length:
                raise NotFoundError(
                    "A piece of this upload is gone. Upload the file again.", reason="piece_lost"
                )
            return staging.finish()

    def _end(
        self, upload: ResumableUpload, close: Callable[[Session], ResumableUpload]
    ) -> ResumableUpload:
        ended = in_transaction(self.sessions, close)
        drop_parts(self.sessions, self.storage, upload.id)
        return ended

    def terminate(self, upload_id: UUID) -> None:
        """Forget an upload; a video that was made of it stays.

        Raises:
            NotFoundError: it is gone.
        """
        close = partial(_close, upload_id=upload_id, state=UploadState.REFUSED, is_forced=True)
        in_transaction(self.sessions, close)  # from now on no piece is counted
        drop_parts(self.sessions, self.storage, upload_id)
        in_transaction(self.sessions, partial(queries.forget_upload, upload_id=upload_id))


def check_offset(upload: ResumableUpload, offset: int) -> None:
    """Make sure that an upload goes on here.

    Raises:
        ConflictError: it has ended, or goes on elsewhere.
    """
    if upload.state is not UploadState.OPEN:
        raise ConflictError("This upload has ended. Begin a new one.", reason="upload_ended")
    if upload.offset != offset:
        raise ConflictError(
            f"This upload goes on at byte {upload.offset}, not at {offset}. Ask for it with HEAD.",
            reason="offset_mismatch",
        )


def _close(
    session: Session,
    *,
    upload_id: UUID,
    state: UploadState,
    is_forced: bool = False,
    **outcome: Any,
) -> ResumableUpload:
    """Write how an upload ended, unless another process was quicker."""
    upload = queries.get_upload(session, upload_id, lock=True)
    if upload.state is UploadState.OPEN or is_forced:
        upload.state = state
        for name, value in outcome.items():
            setattr(upload, name, value)
        session.flush()
    return upload


def _metadata_of(upload: ResumableUpload) -> UploadMetadata:
    said = upload.request["metadata"]
    return UploadMetadata(title=said["title"], tags=tuple(said["tags"]), fields=said["fields"])


def _raise_refusal(upload: ResumableUpload) -> NoReturn:
    raise RefusedMediaError(
        upload.detail or "This upload has ended. Begin a new one.",
        reason=upload.reason or "upload_ended",
    )
