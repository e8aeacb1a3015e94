"""Files in a bucket of an S3-compatible object store."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Self
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from service.catalog.import_queries import NewItem
from service.errors import InvalidInputError
from service.imports.fetched import Fetched, SourceError
from service.outbound import Policy, parse_url
from service.settings import Settings

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
MAX_PREFIX, MAX_KEY = 512, 1024
CHUNK_BYTES = 1024 * 1024
FINAL = (NotFoundError, PermissionDeniedError, UnauthenticatedError)


def check_bucket(url: str, endpoint: str | None, settings: Settings) -> dict[str, Any]:
    """Return a bucket as it is kept.

    Raises:
        InvalidInputError: it is no s3://bucket/prefix, or the endpoint is none that the settings
            name: the library that speaks to it would follow any name anywhere.
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    is_plain = not parts.query and not parts.fragment and prefix.isprintable()
    if parts.scheme != "s3" or not BUCKET.match(parts.netloc) or not is_plain:
        raise InvalidInputError("Write the bucket as s3://bucket/prefix.", reason="bad_bucket")
    if len(prefix) > MAX_PREFIX or ".." in prefix.split("/"):
        raise InvalidInputError("The prefix is too long, or has .. in it.", reason="bad_bucket")
    if endpoint is not None and endpoint != settings.import_s3_endpoint:
        policy = Policy.of(allow=settings.outbound_allow, ports=settings.outbound_ports)
        if not policy.names_host(parse_url(endpoint)):
            raise InvalidInputError(
                "This endpoint is not allowed. An admin can name it in "
                "REELSEEK_IMPORT_S3_ENDPOINT or REELSEEK_OUTBOUND_ALLOW.",
                reason="endpoint_not_allowed",
            )
    return {"bucket": parts.netloc, "prefix": prefix, "endpoint": endpoint}


class BucketSource:
    """The videos of a bucket below a prefix."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    @classmethod
    def of(cls, asked: Mapping[str, Any], settings: Settings) -> Self:
        """Open a bucket that `check_bucket` returned.

        Requests are signed with the keys of the settings at the endpoint of the settings, and
        nowhere else; neither the environment's keys nor those of the machine's role are used.
        """
        own = settings.import_s3_endpoint or f"https://s3.{settings.import_s3_region}.amazonaws.com"
        endpoint = asked["endpoint"] or own
        key, secret = settings.import_s3_access_key, settings.import_s3_secret_key
        keys: dict[str, Any] = {"skip_signature": True}
        if key is not None and secret is not None and endpoint == own:
            keys = {
                "access_key_id": key.get_secret_value(),
                "secret_access_key": secret.get_secret_value(),
                "skip_signature": False,
            }
        store = S3Store(
            asked["bucket"],
            prefix=asked["prefix"] or None,
            endpoint=endpoint,
            region=settings.import_s3_region,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=settings.import_idle_s),
                "read_timeout": timedelta(seconds=settings.import_idle_s),
                "timeout": timedelta(seconds=settings.import_file_s),
            },
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
            **keys,
        )
        return cls(store)

    def list(self, suffixes: Collection[str], limit: int) -> list[NewItem]:
        """Return the videos by their keys below the prefix; one too many at most.

        Raises:
            SourceError: `no_bucket`: it cannot be read.
        """
        found: list[NewItem] = []
        with _failures_said("no_bucket"):
            for batch in obstore.list(self._store):
                for entry in batch:
                    key = str(entry["path"])
                    is_video = PurePosixPath(key).suffix.lower() in suffixes
                    if is_video and key.isprintable() and len(key) <= MAX_KEY:
                        found.append(NewItem(source=key, size_bytes=int(entry["size"])))
                    if len(found) > limit:
                        return found
        return found

    @contextmanager
    def open(self, source: str) -> Iterator[Fetched]:
        """Fetch one of the videos.

        Raises:
            SourceError: it could not be fetched.
        """
        with _failures_said("file_gone"):
            answer = obstore.get(self._store, source)
        yield Fetched(
            file_name=PurePosixPath(source).name,
            size_bytes=int(answer.meta["size"]),
            chunks=_chunks(answer),
        )


def _chunks(answer: "obstore.GetResult") -> Iterator[bytes]:
    stream = iter(answer.stream(min_chunk_size=CHUNK_BYTES))
    while True:
        with _failures_said("file_gone"):
            chunk = next(stream, None)
        if chunk is None:
            return
        yield bytes(chunk)


@contextmanager
def _failures_said(reason: str) -> Iterator[None]:
    try:
        yield
    except (*FINAL, FileNotFoundError, PermissionError) as error:
        raise SourceError(
            reason, "It is not in the bucket, or not for us.", is_final=True
        ) from error
    except (BaseError, OSError) as error:
        raise SourceError(
            "store_not_reached",
            "The object store did not answer as it should, or has no such bucket.",
            is_final=False,
        ) from error
