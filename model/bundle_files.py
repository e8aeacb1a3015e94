"""The files of a bundle on disk: read within limits, written so that a half-written one is seen."""

import hashlib
import json
from pathlib import Path
from typing import Any

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "card.json"
SEALED = (CONFIG, WEIGHTS, TOKENIZER)
"""The files that decide the embedding space, in the order of the digest."""

JSON_LIMIT_BYTES = 32 * 1024 * 1024
HEADER_LIMIT_BYTES = 4 * 1024 * 1024
HEADER_LENGTH_BYTES = 8
READ_BYTES = 1024 * 1024


class BundleError(ValueError):
    """The folder is not a bundle that can be used; the message says what is wrong."""


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def bundle_digest(folder: Path) -> str:
    """Return the digest that names the embedding space of a bundle, hexadecimal.

    It covers configuration, weights and tokenizer, not the card.

    Raises:
        BundleError: a file is missing.
    """
    return combine({name: digest_file(folder / name) for name in SEALED})


def combine(digests: dict[str, str]) -> str:
    """Return the digest of a bundle from those of its files."""
    lines = "".join(f"{name} {digests[name]}\n" for name in SEALED)
    return hashlib.sha256(lines.encode()).hexdigest()


def check_digests(folder: Path) -> str:
    """Compare the files with the card and return the digest of the bundle.

    Raises:
        BundleError: a file is missing or was changed after the card was written.
    """
    sealed = read_json(folder / CARD).get("files")
    if not isinstance(sealed, dict):
        raise BundleError(f"{folder / CARD} does not list the digests of the files")
    found = {name: digest_file(folder / name) for name in SEALED}
    for name in SEALED:
        if sealed.get(name) != found[name]:
            raise BundleError(f"{folder / name} was changed: its digest is not that of {CARD}")
    return combine(found)


def read_text(path: Path) -> str:
    """Read a text file of a reasonable size.

    Raises:
        BundleError: the file is missing, too large or not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(JSON_LIMIT_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > JSON_LIMIT_BYTES:
        raise BundleError(f"{path} is larger than {JSON_LIMIT_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not UTF-8 text") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        BundleError: the file cannot be read or holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} is not JSON") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} does not hold a JSON object")
    return content


def check_header(path: Path) -> None:
    """Refuse a weights file whose header claims more than the file holds.

    Raises:
        BundleError: the header is missing, too large, or longer than the file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            claimed = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if size < HEADER_LENGTH_BYTES or claimed > min(size - HEADER_LENGTH_BYTES, HEADER_LIMIT_BYTES):
        raise BundleError(f"{path} is not a safetensors file: its header does not fit in it")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one JSON object, readable for people."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
