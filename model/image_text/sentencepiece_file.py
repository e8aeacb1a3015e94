"""The vocabulary file of SigLIP, read without the library that wrote it.

It is a protocol buffer (https://protobuf.dev/programming-guides/encoding/) with the fields of
`sentencepiece_model.proto`: pieces, and how text is normalised. Only unigram models are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.importing.errors import ImportRefusedError

LARGEST_BYTES = 64 * 1024 * 1024
MOST_PIECES = 1_000_000
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10
PIECES, TRAINER, NORMALIZER = 1, 2, 3
UNIGRAM = 1
UNKNOWN = 2
"""Type of the piece that stands for what no other piece spells."""


@dataclass(frozen=True)
class SentencePieces:
    """What a vocabulary file holds.

    Attributes:
        pieces: each with its log-probability, by id.
        unknown_id: id of the piece for what cannot be spelled.
        charsmap: rules of Unicode normalisation, as `tokenizers` reads them; may be empty.
        byte_fallback: what cannot be spelled is spelled in bytes.
    """

    pieces: list[tuple[str, float]]
    unknown_id: int
    charsmap: bytes
    byte_fallback: bool


def read_sentencepieces(path: Path) -> SentencePieces:
    """Read a vocabulary file.

    Raises:
        ImportRefusedError: it is damaged, or no unigram model.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ImportRefusedError(f"{path} is larger than {LARGEST_BYTES} bytes.")
        return _parse(path.read_bytes())
    except OSError as error:
        raise ImportRefusedError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, struct.error) as error:
        if isinstance(error, ImportRefusedError):
            raise
        raise ImportRefusedError(f"{path} is no SentencePiece unigram model: {error}.") from error


def _parse(content: bytes) -> SentencePieces:
    pieces: list[tuple[str, float]] = []
    unknown: list[int] = []
    kind: int | bytes = UNIGRAM
    charsmap, byte_fallback = b"", False
    for number, value in _fields(content):
        if number == PIECES:
            text, score, piece_type = _piece(_as_bytes(value))
            if piece_type == UNKNOWN:
                unknown.append(len(pieces))
            pieces.append((text, score))
            if len(pieces) > MOST_PIECES:
                raise ValueError(f"it has more than {MOST_PIECES} pieces")
        elif number == TRAINER:
            trainer = dict(_fields(_as_bytes(value)))
            kind, byte_fallback = trainer.get(3, UNIGRAM), bool(trainer.get(35, 0))
        elif number == NORMALIZER:
            charsmap = _as_bytes(dict(_fields(_as_bytes(value))).get(2, b""))
    if kind != UNIGRAM:
        raise ValueError(f"it is of kind {kind!r}, not {UNIGRAM}")
    if len(unknown) != 1:
        raise ValueError(f"it has {len(unknown)} pieces for the unknown")
    return SentencePieces(pieces, unknown[0], charsmap, byte_fallback)


def _piece(content: bytes) -> tuple[str, float, int]:
    found = dict(_fields(content))
    text = _as_bytes(found.get(1, b"")).decode()
    (score,) = struct.unpack("<f", _as_bytes(found.get(2, bytes(4))))
    piece_type = found.get(3, 1)
    if not text or not isinstance(piece_type, int):
        raise ValueError("a piece has no text or no type")
    return text, score, piece_type


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field; fixed-width numbers as their bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == BYTES:
            size, at = _varint(content, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(wire, -1)
        if size < 0 or at + size > len(content):
            raise ValueError("a field is cut off, or of no known type")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where the next field begins."""
    value = 0
    for place, byte in enumerate(content[at : at + LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 (the last byte of a number has no top bit)
            return value, at + place + 1
    raise ValueError("a number is cut off")


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field is a number where text should be")  # noqa: TRY004 (of the file)
    return value
