"""Read an upload's multipart body (RFC 7578) as it arrives, in constant memory."""

from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.api.problems import HttpProblemError
from service.errors import BadRequestError, InvalidInputError, PayloadTooLargeError

METADATA_LIMIT_BYTES = 64 * 1024
FILE_NAME_LIMIT_BYTES = 4000
FILE, METADATA = "file", "metadata"


@dataclass(frozen=True, kw_only=True)
class UploadForm:
    """What came beside the bytes of the file.

    Attributes:
        file_name: as the client wrote it: text to show, never a path; of the last file.
        metadata: the field `metadata` as it came; empty if it did not.
    """

    file_name: str
    metadata: str


def boundary_of(content_type: str | None) -> bytes:
    """Return the boundary that a Content-Type names.

    Raises:
        HttpProblemError: it is not multipart/form-data (415), or has no boundary (400).
    """
    message = Message()
    message["content-type"] = content_type or ""
    if message.get_content_type() != "multipart/form-data":
        raise HttpProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Send the video as multipart/form-data, in a field named file.",
            headers={"Accept": "multipart/form-data"},
        )
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequestError("The Content-Type names no boundary.", reason="invalid_multipart")
    return boundary


class UploadReader:
    """Parse a multipart body chunk by chunk; the file's bytes go straight to `write`.

    Args:
        boundary: what separates the parts.
        write: takes the file's bytes, in order; it may raise to stop the upload.
        begin_file: called with the name of each file before its bytes; None: there may be one only.

    Raises:
        BadRequestError: the body is no valid multipart message.
        InvalidInputError: a field is missing, doubled or unknown.
        PayloadTooLargeError: the metadata is larger than 64 KiB.
    """

    def __init__(
        self,
        boundary: bytes,
        write: Callable[[bytes], None],
        *,
        begin_file: Callable[[str], None] | None = None,
    ) -> None:
        self._write = write
        self._begin_file = begin_file
        self._fields_seen: set[str] = set()
        self._field = ""
        self._file_name = ""
        self._metadata = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._has_ended = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as error:
            raise _broken() from error

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken() from error

    def finish(self) -> UploadForm:
        """Return what came beside the file, now that the body is over."""
        if not self._has_ended:
            raise _broken()
        if FILE not in self._fields_seen:
            raise InvalidInputError("The upload has no field named file.", reason="file_missing")
        return UploadForm(file_name=self._file_name, metadata=_as_json_text(self._metadata))

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition")
        kind, options = parse_options_header(disposition)
        self._field = _as_text(options.get(b"name", b""))
        if kind != b"form-data" or not self._field:
            raise _broken()
        if self._field not in {FILE, METADATA}:
            raise InvalidInputError(
                "The upload has an unknown field; known are file and metadata.",
                reason="unknown_field",
            )
        is_next_file = self._field == FILE and self._begin_file is not None
        if self._field in self._fields_seen and not is_next_file:
            raise InvalidInputError(
                f"The upload has more than one field named {self._field}.", reason="field_repeated"
            )
        self._fields_seen.add(self._field)
        if self._field == FILE:
            self._file_name = _as_text(options.get(b"filename", b"")[:FILE_NAME_LIMIT_BYTES])
            if self._begin_file is not None:
                self._begin_file(self._file_name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == FILE:
            self._write(data[start:end])
            return
        self._metadata += data[start:end]
        if len(self._metadata) > METADATA_LIMIT_BYTES:
            raise PayloadTooLargeError(
                f"The field metadata is larger than {METADATA_LIMIT_BYTES} bytes.",
                reason="metadata_too_large",
            )

    def _on_end(self) -> None:
        self._has_ended = True


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _as_json_text(raw: bytes | bytearray) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError("The field metadata is not UTF-8.") from error


def _broken() -> BadRequestError:
    return BadRequestError(
        "The body is not a complete multipart message.", reason="invalid_multipart"
    )
