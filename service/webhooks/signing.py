"""Signatures of Standard Webhooks (standardwebhooks.com): who gets a message knows it is ours."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

PREFIX = "whsec_"
SECRET_BYTES = 32


def make_secret() -> bytes:
    """Return a new random secret."""
    return secrets.token_bytes(SECRET_BYTES)


def show_secret(secret: bytes) -> str:
    """Return a secret as its owner keeps it."""
    return PREFIX + base64.b64encode(secret).decode()


def message_id_of(delivery_id: UUID) -> str:
    """Return what names a message in each of its tries."""
    return f"msg_{delivery_id.hex}"


def body_of(payload: Mapping[str, Any]) -> bytes:
    """Return a message as it is sent: the same bytes each time."""
    return json.dumps(payload, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def headers_of(
    message_id: str, timestamp: int, body: bytes, secrets_: Sequence[bytes]
) -> dict[str, str]:
    """Return what proves that a message is ours and new.

    Args:
        message_id: the same for each try.
        timestamp: of this try, seconds since 1970.
        body: of the message.
        secrets_: each signs it; after a rotation there are two for a while.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        for secret in secrets_
    ]
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
