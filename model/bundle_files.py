"""The files of a bundle on disk: read within limits, written so that a half-written one is seen."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

CONFIG, WEIGHTS, TOKENIZER, CARD = "config.json", "model.safetensors", "tokenizer.json", "card.json"
SEALED = (CONFIG, WEIGHTS, TOKENIZER)
"""The files that decide the embedding space, in the order of the digest."""

FORMAT = 1
JSON_LIMIT_BYTES = 32 * 1024 * 1024
HEADER_LIMIT_BYTES = 4 * 1024 * 1024
HEADER_LENGTH_BYTES = 8
READ_BYTES = 1024 * 1024


class BundleError(ValueError):
    """The folder is not a bundle that can be used; the message says what is wrong."""


@dataclass(frozen=True)
class BundleParts:
    """A bundle whose files are those that its card lists.

    Attributes:
        folder: where it is.
        config: what `config.json` holds.
    """

    folder: Path
    config: dict[str, Any]

    @property
    def config_path(self) -> Path:
        """Where the configuration is, for messages."""
        return self.folder / CONFIG

    @property
    def weights_path(self) -> Path:
        """Where the weights are."""
        return self.folder / WEIGHTS

    @property
    def tokenizer_path(self) -> Path:
        """Where the tokenizer is."""
        return self.folder / TOKENIZER


def open_bundle(folder: Path) -> BundleParts:
    """Check the digests of a bundle and read its configuration.

    Raises:
        BundleError: the bundle is damaged, was changed, or is of another format.
    """
    check_digests(folder)
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise BundleError(f"{folder / CONFIG} is of format {config.get('format')!r}, not {FORMAT}")
    return BundleParts(folder, config)


def write_bundle(
    folder: Path,
    *,
    family: str,
    settings: Mapping[str, Any],
    state: Mapping[str, Tensor],
    tokenizer_json: str,
    card: Mapping[str, Any],
) -> str:
    """Write a bundle of any family and return its digest.

    The card is written last, so a folder that was left half-written is refused when it is loaded.

    Args:
        folder: where; it is made if it is missing.
        family: architecture, as `all_in_one`.
        settings: what the family needs to build its network, as JSON.
        state: the weights by name.
        tokenizer_json: the tokenizer, as `tokenizers` serialises it.
        card: where the weights came from and what they can do; anything JSON can hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
    write_json(folder / CONFIG, {"format": FORMAT, "family": family, **settings})
    (folder / TOKENIZER).write_text(tokenizer_json, encoding="utf-8")
    digests = {name: digest_file(folder / name) for name in SEALED}
    digest = combine(digests)
    write_json(folder / CARD, {**card, "digest": digest, "files": digests})
    return digest


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
