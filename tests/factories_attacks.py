"""Files that are made to hurt a reader, cut together from real ones box by box."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEADER = struct.Struct(">I4s")
CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta", b"mvex"}
ATTACHMENTS, ATTACHED_FILE = b"\x19\x41\xa4\x69", b"\x61\xa7"
FILE_NAME, FILE_TYPE, FILE_DATA, FILE_ID = b"\x46\x6e", b"\x46\x60", b"\x46\x5c", b"\x46\xae"
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


@dataclass(frozen=True)
class Box:
    """A box of an MP4 file.

    Attributes:
        kind: four letters.
        start: of its header.
        end: behind its body.
        parents: boxes that it lies in, outermost first.
    """

    kind: bytes
    start: int
    end: int
    parents: tuple["Box", ...] = ()


def boxes(
    content: bytes, start: int = 0, end: int | None = None, parents: tuple[Box, ...] = ()
) -> Iterator[Box]:
    """Yield the boxes of an MP4 file with those inside them, as far as sizes make sense."""
    end = len(content) if end is None else end
    while start + HEADER.size <= end:
        size, kind = HEADER.unpack_from(content, start)
        if size < HEADER.size or start + size > end:
            return
        box = Box(kind, start, start + size, parents)
        yield box
        if kind in CONTAINERS:
            yield from boxes(content, start + HEADER.size, box.end, (*parents, box))
        start = box.end


def find_box(content: bytes, kind: bytes) -> Box:
    """Return the first box of a kind."""
    return next(box for box in boxes(content) if box.kind == kind)


def replace_box(content: bytes, box: Box, new: bytes) -> bytes:
    """Put something else in the place of a box; what it lies in grows or shrinks with it."""
    changed = bytearray(content)
    for parent in box.parents:
        size = parent.end - parent.start + len(new) - (box.end - box.start)
        changed[parent.start : parent.start + 4] = struct.pack(">I", size & 0xFFFFFFFF)
    changed[box.start : box.end] = new
    return bytes(changed)


def with_tracks(content: bytes, count: int) -> bytes:
    """Repeat the video track of an MP4 file whose index is at its end."""
    track = find_box(content, b"trak")
    return replace_box(content, track, content[track.start : track.end] * count)


def with_nesting(content: bytes, depth: int) -> bytes:
    """Put boxes into boxes, many levels deep, beside the track."""
    nest = b""
    for _ in range(depth):
        nest = HEADER.pack(HEADER.size + len(nest), b"moov") + nest
    track = find_box(content, b"trak")
    return replace_box(content, track, content[track.start : track.end] + nest)


def with_compressed_index(content: bytes, bomb_bytes: int) -> bytes:
    """Say the index is compressed, and let it unpack to a great many zeros."""
    packed = zlib.compress(bytes(bomb_bytes), 9)
    method = HEADER.pack(12, b"dcom") + b"zlib"
    data = HEADER.pack(12 + len(packed), b"cmvd") + struct.pack(">I", bomb_bytes) + packed
    compressed = HEADER.pack(8 + len(method) + len(data), b"cmov") + method + data
    index = find_box(content, b"moov")
    return replace_box(content, index, HEADER.pack(8 + len(compressed), b"moov") + compressed)


def with_duration(content: bytes, units: int) -> bytes:
    """Claim another duration in all headers, and in how long each frame lasts."""
    changed = bytearray(content)
    places = {b"mvhd": 16, b"mdhd": 16, b"tkhd": 20}
    for box in boxes(content):
        if box.kind in places:
            struct.pack_into(">I", changed, box.start + HEADER.size + places[box.kind], units)
        if box.kind == b"stts":
            struct.pack_into(">I", changed, box.start + HEADER.size + 12, units)
    return bytes(changed)


def with_attachment(content: bytes, name: str, data: bytes) -> bytes:
    """Attach a file to a Matroska file, as subtitles bring their fonts."""
    file = b"".join(
        element(identity, body)
        for identity, body in (
            (FILE_NAME, name.encode()),
            (FILE_TYPE, b"application/x-truetype-font"),
            (FILE_DATA, data),
            (FILE_ID, b"\1"),
        )
    )
    attached = element(ATTACHMENTS, element(ATTACHED_FILE, file))
    at = content.index(SEGMENT) + len(SEGMENT)
    size = struct.unpack_from(">Q", content, at)[0]  # eight bytes, as FFmpeg writes it
    first = content.index(CLUSTER)
    head, pictures = content[at + 8 : first], content[first:]
    return content[:at] + struct.pack(">Q", size + len(attached)) + head + attached + pictures


def element(identity: bytes, body: bytes) -> bytes:
    """Return an EBML element with a size of eight bytes."""
    return identity + struct.pack(">Q", 1 << 56 | len(body)) + body


def write(path: Path, content: bytes) -> Path:
    """Write a file, and return where."""
    path.write_bytes(content)
    return path
