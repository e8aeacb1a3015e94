"""Use cases of imports: ask for one, look at it, end it. `workers.importing` does the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import import_queries
from service.catalog.import_queries import ImportRecord, NewItem
from service.catalog.import_tables import Import, ImportItem, ImportKind, ItemState
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import JobKind
from service.catalog.usage_queries import are_waiting
from service.cursors import decode_cursor, encode_cursor
from service.errors import InvalidInputError, UnavailableError
from service.imports.addresses import AddressSource
from service.imports.buckets import BucketSource, check_bucket
from service.imports.fetched import Source
from service.imports.folders import FolderSource, check_folder
from service.jobs import JobSender, Task
from service.metadata import check_fields, check_tags, check_title
from service.outbound import Limits, Outbound, OutboundError, Policy, parse_url
from service.settings import Settings

CURSOR = "imports"
MAX_OWNER = 64
MAX_OPEN = 100
"""Imports that are not over, of everybody: each may name a thousand files."""
QUEUE_WAIT_S = 60


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address to fetch, and what is said about the video that it is."""

    url: str
    title: str | None = None
    tags: Sequence[str] = ()
    fields: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket as a client names it."""

    url: str
    endpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be imported: one of the three, and tags that all of it gets."""

    addresses: Sequence[Address] = ()
    folder: str | None = None
    bucket: Bucket | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ImportPage:
    """Some imports, newest first, and where the next page begins."""

    imports: list[ImportRecord]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class ItemPage:
    """Some items in their order, and behind which ordinal the next page begins."""

    items: list[ImportItem]
    next_after: int | None


def request_import(
    sessions: Sessions, sender: JobSender, settings: Settings, wanted: Wanted, *, owner: str
) -> ImportRecord:
    """Queue an import.

    Raises:
        InvalidInputError: an address, the folder, the bucket, or what is said is not allowed.
        UnavailableError: too many imports wait already.
    """
    tags = list(check_tags(list(wanted.tags)))
    request, items = _checked(wanted, tags, settings)
    request.owner = owner[:MAX_OWNER]

    def add(session: Session) -> ImportRecord:
        if are_waiting(session, JobKind.IMPORT, MAX_OPEN):
            raise UnavailableError(
                f"{MAX_OPEN} imports are not over yet; try again later.",
                reason="queue_full",
                retry_after_s=QUEUE_WAIT_S,
            )
        job = import_queries.add_import(session, request, items)
        return import_queries.get_import(session, job.subject_id)

    record = in_transaction(sessions, add)
    sender.send(Task.IMPORT, record.job.id)
    return record


def cancel_import(sessions: Sessions, import_id: UUID) -> ImportRecord:
    """End an import; what was accepted stays.

    Raises:
        NotFoundError: there is none with this id.
        ConflictError: it is over.
    """

    def cancel(session: Session) -> ImportRecord:
        import_queries.cancel_import(session, import_id)
        return import_queries.get_import(session, import_id)

    return in_transaction(sessions, cancel)


def list_imports(
    session: Session, *, secret: bytes, limit: int, cursor: str | None = None
) -> ImportPage:
    """Return imports, newest first.

    Raises:
        BadRequestError: the cursor is not one of this list.
    """
    before = None
    if cursor is not None:
        created_at, last_id = decode_cursor(secret, CURSOR, cursor)
        before = (datetime.fromisoformat(created_at), UUID(last_id))
    found = import_queries.newest_imports(session, before=before, limit=limit + 1)
    next_cursor = None
    if len(found) > limit:
        last = found[limit - 1].request
        next_cursor = encode_cursor(secret, CURSOR, [last.created_at.isoformat(), str(last.id)])
    return ImportPage(imports=found[:limit], next_cursor=next_cursor)


def list_items(
    session: Session, import_id: UUID, *, after: int, limit: int, state: ItemState | None = None
) -> ItemPage:
    """Return what became of the items of an import."""
    found = list(
        import_queries.items_of(session, import_id, after=after, limit=limit + 1, state=state)
    )
    next_after = found[limit - 1].ordinal if len(found) > limit else None
    return ItemPage(items=found[:limit], next_after=next_after)


def open_source(request: Import, settings: Settings) -> Source:
    """Return where the files of an import are.

    Raises:
        InvalidInputError: the settings name no import folder any more.
    """
    if request.kind is ImportKind.FOLDER:
        return FolderSource(_import_dir(settings), request.request["folder"])
    if request.kind is ImportKind.BUCKET:
        return BucketSource.of(request.request["bucket"], settings)
    policy = Policy.of(allow=settings.outbound_allow, ports=settings.outbound_ports)
    limits = Limits(
        total_s=settings.import_file_s,
        idle_s=settings.import_idle_s,
        max_bytes=settings.upload_limit_bytes,
    )
    return AddressSource(Outbound(policy), limits)


def _checked(
    wanted: Wanted, tags: list[str], settings: Settings
) -> tuple[Import, Sequence[NewItem]]:
    asked: dict[str, Any] = {"tags": tags}
    if wanted.folder is not None:
        _import_dir(settings)
        asked["folder"] = check_folder(wanted.folder)
        return Import(kind=ImportKind.FOLDER, request=asked, is_listed=False), ()
    if wanted.bucket is not None:
        asked["bucket"] = check_bucket(wanted.bucket.url, wanted.bucket.endpoint, settings)
        return Import(kind=ImportKind.BUCKET, request=asked, is_listed=False), ()
    if not wanted.addresses:
        raise InvalidInputError("Name urls, a folder or a bucket.")
    policy = Policy.of(allow=settings.outbound_allow, ports=settings.outbound_ports)
    items = [_item(number, one, tags, policy) for number, one in enumerate(wanted.addresses)]
    return Import(kind=ImportKind.URLS, request=asked, is_listed=True), items


def _item(number: int, address: Address, tags: Sequence[str], policy: Policy) -> NewItem:
    try:
        target = parse_url(address.url)
        policy.check_literal(target)  # where a name leads is looked up when it is fetched
        said = {
            "title": None if address.title is None else check_title(address.title),
            "tags": list(check_tags([*tags, *address.tags])),
            "fields": check_fields(dict(address.fields or {})),
        }
    except InvalidInputError as error:
        reason = error.reason if isinstance(error, OutboundError) else None
        raise InvalidInputError(f"urls.{number}: {error.detail}", reason=reason) from error
    return NewItem(source=target.url, said=said)


def _import_dir(settings: Settings) -> Path:
    if settings.import_dir is None:
        raise InvalidInputError(
            "No folder may be imported. An admin can allow one with REELSEEK_IMPORT_DIR.",
            reason="no_import_folder",
        )
    return settings.import_dir
