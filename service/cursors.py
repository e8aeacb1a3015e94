"""Cursors: where the next page begins, signed, so that nobody makes one up.

A cursor is base64url(JSON) + "." + base64url(HMAC-SHA256), shortened to 128 bits.
"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from service.errors import BadRequestError

MAX_CURSOR = 131_072  # one of a search carries what was shown: about seven characters a segment
SIGNATURE_BYTES = 16


def encode_cursor(secret: bytes, kind: str, position: Any) -> str:
    """Sign a position.

    Args:
        secret: as `access.ensure_secret` returns it; shared by all processes.
        kind: which list it belongs to; a cursor of another list is refused.
        position: anything that JSON holds.
    """
    payload = json.dumps([kind, position], separators=(",", ":")).encode()
    return f"{_to_text(payload)}.{_to_text(_sign(secret, payload))}"


def decode_cursor(secret: bytes, kind: str, cursor: str) -> Any:
    """Return the position in a cursor.

    Raises:
        BadRequestError: it is not one of ours, or one of another list.
    """
    try:
        payload, signature = (_to_bytes(part) for part in cursor[:MAX_CURSOR].split("."))
    except (ValueError, binascii.Error) as error:
        raise _foreign() from error
    if cursor != f"{_to_text(payload)}.{_to_text(signature)}":
        raise _foreign()  # base64 has many spellings of the same bytes; ours is one
    if not hmac.compare_digest(signature, _sign(secret, payload)):
        raise _foreign()
    own_kind, position = json.loads(payload)  # it is ours, so it is JSON
    if own_kind != kind:
        raise _foreign()
    return position


def _foreign() -> BadRequestError:
    return BadRequestError(
        "The cursor is not one of this list; ask for the first page.", reason="bad_cursor"
    )


def _sign(secret: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, payload, hashlib.sha256)[:SIGNATURE_BYTES]


def _to_text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _to_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
