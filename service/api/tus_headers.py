"""What the headers of tus 1.0 mean: metadata, checksums, times."""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from typing import Protocol

from service.errors import BadRequestError, InvalidInputError
from service.metadata import UploadMetadata, check_fields, check_tags, check_title

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,termination,checksum"
MAX_METADATA = 48 * 1024


class Digest(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """Return the digest of all that came."""


class Crc32:
    """CRC-32 as one of hashlib's objects, big-endian."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """Return the sum of all that came."""
        return self._value.to_bytes(4, "big")


ALGORITHMS: dict[str, Callable[[], Digest]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "crc32": Crc32,
}


class Checksum:
    """The digest that the bytes of one request must have (Upload-Checksum).

    Args:
        header: algorithm, blank, digest in Base64.

    Raises:
        BadRequestError: it is no such thing, or another algorithm.
    """

    def __init__(self, header: str) -> None:
        name, _, value = header.strip().partition(" ")
        if name not in ALGORITHMS:
            raise BadRequestError(
                f"Upload-Checksum names no known algorithm; known are {', '.join(ALGORITHMS)}.",
                reason="unknown_checksum_algorithm",
            )
        self._digest = ALGORITHMS[name]()
        self._wanted = _decoded(value.strip(), "Upload-Checksum")

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self._digest.update(data)

    def is_met(self) -> bool:
        """Tell whether the bytes are those that were meant."""
        return hmac.compare_digest(self._digest.digest(), self._wanted)


def parse_upload_metadata(header: str | None) -> tuple[str | None, UploadMetadata]:
    """Read Upload-Metadata: the file's name, and what is said about the video.

    Known keys are `filename` (or `name`), `title`, `tags` (with commas between) and `fields`
    (a JSON object). Clients send others by themselves; they are kept but mean nothing.

    Raises:
        BadRequestError: it is no such list.
        InvalidInputError: a value is not allowed.
    """
    said = _pairs(header or "")
    title, tags, fields = (said.get(key) for key in ("title", "tags", "fields"))
    metadata = UploadMetadata(
        title=check_title(title) if title else None,
        tags=check_tags([tag for tag in tags.split(",") if tag.strip()]) if tags else (),
        fields=_fields(fields) if fields else {},
    )
    return said.get("filename") or said.get("name"), metadata


def http_date(moment: datetime) -> str:
    """Return a time as RFC 9110 writes it."""
    return format_datetime(moment, usegmt=True)


def _pairs(header: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not key or key in said:
            raise BadRequestError(
                "Upload-Metadata has an empty or repeated key.", reason="invalid_upload_metadata"
            )
        try:
            said[key] = _decoded(value.strip(), "Upload-Metadata").decode()
        except UnicodeDecodeError as error:
            raise BadRequestError(
                "Upload-Metadata holds a value that is not UTF-8.",
                reason="invalid_upload_metadata",
            ) from error
    return said


def _fields(text: str) -> dict[str, object]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("The fields of Upload-Metadata are not JSON.") from error
    return check_fields(said)


def _decoded(value: str, header: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(
            f"{header} holds a value that is not Base64.",
            reason=f"invalid_{header.lower().replace('-', '_')}",
        ) from error
