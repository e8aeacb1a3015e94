"""What the parent and the decoding child say to each other.

The parent writes one line of JSON to the child's standard input and holds it open; when it
closes, the child ends. The child answers on its standard output with messages: kind (1 byte),
length (4 bytes, little-endian), payload. The parent trusts none of it: every size is checked
before memory is taken.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from model.video.errors import VideoError

HEADER = struct.Struct("<BI")
CLIP_HEADER = struct.Struct("<II")
"""Ordinal of the span, bytes of the thumbnail."""
MAX_JSON_BYTES = 1024 * 1024
MAX_THUMBNAIL_BYTES = 16 * 1024 * 1024


class Kind(IntEnum):
    """What a message carries."""

    FACTS = 1
    CLIP = 2
    REPORT = 3
    REFUSAL = 4
    USAGE = 5


@dataclass(frozen=True)
class Message:
    """One message of the child."""

    kind: Kind
    payload: bytes

    def json(self) -> dict[str, Any]:
        """Return the payload of all kinds but CLIP.

        Raises:
            VideoError: it is no JSON object.
        """
        try:
            value = json.loads(self.payload)
        except ValueError as error:
            raise nonsense() from error
        if not isinstance(value, dict):
            raise nonsense()
        return value


def nonsense() -> VideoError:
    """Make the error for a child that broke the contract."""
    return VideoError("decoder_crashed", "The decoder answered nonsense; re-encode the video.")


def pack(kind: Kind, payload: bytes) -> bytes:
    """Frame a payload."""
    return HEADER.pack(kind, len(payload)) + payload


def pack_json(kind: Kind, value: dict[str, Any]) -> bytes:
    """Frame a JSON object."""
    return pack(kind, json.dumps(value).encode())


def pack_clip(ordinal: int, frames: bytes, thumbnail: bytes) -> bytes:
    """Frame a clip: its header, its pixels, its thumbnail."""
    return pack(Kind.CLIP, CLIP_HEADER.pack(ordinal, len(thumbnail)) + frames + thumbnail)


def max_payload(kind: Kind, clip_bytes: int) -> int:
    """Return the most bytes that a payload may have, given the pixels of one clip."""
    if kind is Kind.CLIP:
        return CLIP_HEADER.size + clip_bytes + MAX_THUMBNAIL_BYTES
    return MAX_JSON_BYTES
