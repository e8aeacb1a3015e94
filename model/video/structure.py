"""Look at the outermost layers of a container for damage that demuxers pass over.

Only sizes and names are read, a few bytes each, so that lying headers cost nothing.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_ELEMENTS = 200_000
ABSURD_BYTES = 2**50
BOX_HEADER = struct.Struct(">I4s")
LONG_BOX_SIZE = struct.Struct(">Q")
RIFF_HEADER = struct.Struct("<4sI4s")
EBML_HEADER_ID = 0x1A45DFA3
SEGMENT_ID = 0x18538067
MAX_ID_BYTES, MAX_SIZE_BYTES = 4, 8
TRUNCATED = "truncated"
CORRUPT_CONTAINER = "corrupt_container"


@dataclass(frozen=True)
class Box:
    """One top-level box of an MP4 file, which may claim to end behind the file."""

    kind: bytes
    start: int
    end: int
    body_bytes: int


def find_damage(video_fd: int, container: str) -> str | None:
    """Return `truncated` or `corrupt_container` if the outermost layer is damaged."""
    size = os.fstat(video_fd).st_size
    if container == "mp4":
        return find_damage_in_boxes(video_fd, size)
    if container == "avi":
        return find_damage_in_riff(video_fd, size)
    if container == "matroska":
        return find_damage_in_ebml(video_fd, size)
    return None


def read_boxes(video_fd: int, size: int) -> Iterator[Box]:
    """Yield the top-level boxes of an MP4 file; the last may be damaged."""
    start = 0
    for _ in range(MAX_ELEMENTS):
        header = os.pread(video_fd, BOX_HEADER.size + LONG_BOX_SIZE.size, start)
        if len(header) < BOX_HEADER.size:
            return
        length, kind = BOX_HEADER.unpack_from(header)
        header_bytes = BOX_HEADER.size
        if length == 1 and len(header) == BOX_HEADER.size + LONG_BOX_SIZE.size:
            (length,) = LONG_BOX_SIZE.unpack_from(header, BOX_HEADER.size)
            header_bytes += LONG_BOX_SIZE.size
        end = start + length if length else size
        yield Box(kind, start, end, max(0, min(end, size) - start - header_bytes))
        if end > size or (length and length < header_bytes):
            return
        start = end


def find_damage_in_boxes(video_fd: int, size: int) -> str | None:
    """Find a box that ends behind the file."""
    for box in read_boxes(video_fd, size):
        if box.end <= box.start or box.end - box.start > ABSURD_BYTES:
            return CORRUPT_CONTAINER
        if box.end > size:
            return TRUNCATED
    return None


def why_unreadable_boxes(video_fd: int) -> str:
    """Say why an MP4 file could not be opened at all."""
    size = os.fstat(video_fd).st_size
    boxes = {box.kind: box for box in read_boxes(video_fd, size)}
    if b"moov" in boxes:
        return TRUNCATED if boxes[b"moov"].end > size else "corrupt_index"
    if b"mdat" in boxes:  # the index is written last: a recording that never ended
        return TRUNCATED if boxes[b"mdat"].body_bytes else "not_a_video"
    return "no_video_stream"


def find_damage_in_riff(video_fd: int, size: int) -> str | None:
    """Find an AVI file that is shorter than it says."""
    header = os.pread(video_fd, RIFF_HEADER.size, 0)
    _, claimed, _ = RIFF_HEADER.unpack(header)
    return TRUNCATED if 8 + claimed > size else None


def find_damage_in_ebml(video_fd: int, size: int) -> str | None:
    """Find a Matroska element that ends behind what contains it."""
    start, end = 0, size
    for _ in range(MAX_ELEMENTS):
        if start >= end:
            return None
        element = read_element(video_fd, start)
        if element is None:
            return CORRUPT_CONTAINER
        identity, body, length = element
        if length is None:  # live recordings: the size was never filled in
            return None
        if identity == SEGMENT_ID:
            if body + length > size:
                return CORRUPT_CONTAINER if length > ABSURD_BYTES else TRUNCATED
            start, end = body, body + length
        else:
            if body + length > end:
                return CORRUPT_CONTAINER
            start = body + length
    return None


def read_element(video_fd: int, start: int) -> tuple[int, int, int | None] | None:
    """Return (id, start of the body, its length or None if unknown) of an EBML element."""
    data = os.pread(video_fd, 12, start)
    id_bytes = leading_zeros(data[:1]) + 1
    size_bytes = leading_zeros(data[id_bytes : id_bytes + 1]) + 1
    if id_bytes > MAX_ID_BYTES or size_bytes > MAX_SIZE_BYTES or len(data) < id_bytes + size_bytes:
        return None
    mask = (1 << (7 * size_bytes)) - 1
    length = int.from_bytes(data[id_bytes : id_bytes + size_bytes]) & mask
    is_unknown = length == mask
    identity = int.from_bytes(data[:id_bytes])
    return identity, start + id_bytes + size_bytes, None if is_unknown else length


def leading_zeros(byte: bytes) -> int:
    """Count the zero bits before the first one; 8 for a zero or missing byte."""
    return 8 - (byte[0].bit_length() if byte else 0)
