"""import_videos(): fetch the files of one import, and accept each as an upload of its own."""

import time
from collections.abc import Iterator
from functools import partial

import structlog
from sqlalchemy.orm import Session

from model.video.suffixes import VIDEO_SUFFIXES
from service import footage, uploads
from service.catalog import import_queries
from service.catalog.import_progress import without_query
from service.catalog.import_queries import Outcome
from service.catalog.import_tables import Import, ImportItem, ImportKind, ItemState
from service.catalog.session import in_transaction
from service.catalog.tables import Job
from service.errors import (
    InvalidInputError,
    PayloadTooLargeError,
    RefusedMediaError,
    TooManyRequestsError,
    UnavailableError,
)
from service.imports.fetched import Fetched, Source, SourceError
from service.imports.requesting import open_source
from service.metadata import UploadMetadata
from service.quotas import Quotas
from service.storage import StagedFile
from service.uploads import Accepted
from workers.lease import Lease
from workers.resources import Resources
from workers.runner import WorkError

WAITS_S = (2.0, 10.0)
"""Between one try of an item and the next."""
LOOK_EVERY_S = 0.2
PAGE = 100
LONGEST_QUOTA_WAIT_S = 3600

log = structlog.get_logger(__name__)


def import_videos(job: Job, lease: Lease, resources: Resources) -> None:
    """Fetch what an import names; each item is accepted or refused in one commit, once.

    Whoever takes the job over after a crash goes on with the items that are left.

    Raises:
        WorkError: the folder or bucket cannot be read, or holds too much.
        StorageFullError: the disk has no room; the import waits.
        UnavailableError: the owner's quota is used up, or files cannot be taken now; it waits.
        JobStoppedError: the import was cancelled, or the worker shuts down.
        LostLeaseError: another worker has the job.
    """
    with resources.reads() as session:
        request = import_queries.load_import(session, job.subject_id)
    try:
        source = open_source(request, resources.settings)
    except InvalidInputError as error:
        raise WorkError(error.reason, error.detail, is_final=True) from error
    if not request.is_listed:
        lease.report("listing", 0.0)
        _list(job, resources, source)
    importer = _Importer(job, lease, resources, request, source)
    for item in _waiting(job, resources):
        importer.take(item)
    in_transaction(
        resources.sessions,
        lambda session: import_queries.finish_import(session, job.id, job.fence),
    )


def _list(job: Job, resources: Resources, source: Source) -> None:
    limit = resources.settings.import_limit_items
    try:
        found = source.list(VIDEO_SUFFIXES, limit)
    except SourceError as error:
        raise WorkError(error.reason, error.detail, is_final=error.is_final) from error
    if len(found) > limit:
        raise WorkError(
            "too_many_items",
            f"There are more than {limit} videos; import a part of them, or let an admin raise "
            "REELSEEK_IMPORT_LIMIT_ITEMS.",
            is_final=True,
        )
    in_transaction(
        resources.sessions,
        lambda session: import_queries.list_items(session, job.id, job.fence, found),
    )


def _waiting(job: Job, resources: Resources) -> Iterator[ImportItem]:
    while True:
        with resources.reads() as session:
            page = import_queries.waiting_items(session, job.subject_id, limit=PAGE)
        if not page:
            return
        yield from page


class _Importer:
    """Takes the items of one import, one after the other."""

    def __init__(
        self, job: Job, lease: Lease, resources: Resources, request: Import, source: Source
    ) -> None:
        self._job = job
        self._lease = lease
        self._resources = resources
        self._request = request
        self._source = source
        self._quotas = Quotas.of(resources.settings)
        with resources.reads() as session:
            record = import_queries.get_import(session, request.id)
        self._num_all = max(1, sum(record.counts.values()))
        self._num_done = self._num_all - record.counts.get(ItemState.WAITING, 0)

    def take(self, item: ImportItem) -> None:
        """Accept or refuse an item."""
        self._lease.report("fetching", self._num_done / self._num_all)
        self._lease.check()
        try:
            self._accept(item, self._fetch_patiently(item))
        except SourceError as error:
            self._refuse(item, error.reason, error.detail)
        except (RefusedMediaError, PayloadTooLargeError, InvalidInputError) as error:
            self._refuse(item, error.reason, error.detail)
        except TooManyRequestsError as error:
            wait_s = min(error.retry_after_s or LONGEST_QUOTA_WAIT_S, LONGEST_QUOTA_WAIT_S)
            raise UnavailableError(
                error.detail, reason=error.reason, retry_after_s=wait_s
            ) from error
        self._num_done += 1

    def _fetch_patiently(self, item: ImportItem) -> tuple[str, StagedFile]:
        """Fetch a file, again if that may help; return what it is called, and it."""
        for wait_s in WAITS_S:
            try:
                return self._fetch(item)
            except SourceError as error:
                if error.is_final:
                    raise
                log.info("item_tried_again", ordinal=item.ordinal, reason=error.reason)
            self._wait(wait_s)
        return self._fetch(item)

    def _fetch(self, item: ImportItem) -> tuple[str, StagedFile]:
        with self._source.open(item.source) as fetched:
            with self._resources.reads() as session:
                self._quotas.check_upload(session, self._request.owner, fetched.size_bytes)
            return fetched.file_name, self._receive(fetched)

    def _receive(self, fetched: Fetched) -> StagedFile:
        with self._resources.storage.open_staging(fetched.size_bytes) as staging:
            for chunk in fetched.chunks:
                self._lease.check()
                staging.write(chunk)
            if staging.size_bytes == 0:
                raise RefusedMediaError("The file is empty.", reason="empty_file")
            return staging.finish()

    def _accept(self, item: ImportItem, received: tuple[str, StagedFile]) -> None:
        file_name, staged = received
        settings, said = self._resources.settings, item.said or {}
        try:
            facts = footage.probe_upload(staged.path, settings)
            self._lease.check()
            metadata = UploadMetadata(
                title=said.get("title"),
                tags=tuple(said.get("tags") or self._request.request["tags"]),
                fields=said.get("fields") or {},
            )
            uploads.accept(
                uploads.Upload(staged=staged, file_name=file_name, metadata=metadata, facts=facts),
                sessions=self._resources.sessions,
                storage=self._resources.storage,
                sender=self._resources.sender,
                owner=self._request.owner,
                quotas=self._quotas,
                alongside=partial(self._settle, item=item, size_bytes=staged.size_bytes),
            )
        finally:
            staged.discard()
        log.info("item_imported", ordinal=item.ordinal)

    def _settle(
        self, session: Session, accepted: Accepted, *, item: ImportItem, size_bytes: int
    ) -> None:
        outcome = Outcome(
            state=ItemState.DUPLICATE if accepted.is_duplicate else ItemState.ACCEPTED,
            source=self._kept_source(item),
            video_id=accepted.video_id,
            size_bytes=size_bytes,
        )
        import_queries.settle_item(session, self._job.id, self._job.fence, item.ordinal, outcome)

    def _refuse(self, item: ImportItem, reason: str, detail: str) -> None:
        outcome = Outcome(
            state=ItemState.REFUSED, source=self._kept_source(item), reason=reason, detail=detail
        )
        in_transaction(
            self._resources.sessions,
            lambda session: import_queries.settle_item(
                session, self._job.id, self._job.fence, item.ordinal, outcome
            ),
        )
        log.info("item_refused", ordinal=item.ordinal, reason=reason)

    def _kept_source(self, item: ImportItem) -> str:
        is_address = self._request.kind is ImportKind.URLS
        return without_query(item.source) if is_address else item.source

    def _wait(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._lease.check()
            time.sleep(LOOK_EVERY_S)
