"""The containers that `torch.save` writes: a zip file, and before torch 1.6 pickles in a row."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from model.importing.errors import ImportRefusedError
from model.importing.pickle_reader import MOST_BYTES
from model.importing.torch_pickle import StorageNote, TorchPickle

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MOST_ENTRIES = 200_000
MOST_DIRECTORY_BYTES = 32 * 1024 * 1024
TAIL_BYTES = 22 + 65535
"""The end record of a zip file with the longest comment."""

ReadStorage = Callable[[StorageNote], Tensor]


class TorchFile(NamedTuple):
    """What a file of torch holds.

    Attributes:
        content: what was saved; tensors in it are `TensorNote`.
        read_storage: gives the numbers of a storage, 1-D; it works while the file is open.
    """

    content: Any
    read_storage: ReadStorage


@contextmanager
def open_zip(path: Path) -> Iterator[TorchFile]:
    """Open a zip file of torch.

    Raises:
        ImportRefusedError: it is damaged, compressed, or does not fit together.
    """
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _check_entries(archive)
            folder = _find_folder(entries)
            pickled = entries[folder + "data.pkl"]
            if pickled.file_size > MOST_BYTES:
                raise ImportRefusedError(f"the pickle in it is larger than {MOST_BYTES} bytes")
            if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
                raise ImportRefusedError("it was written on a big-endian machine")
            reader = TorchPickle()
            content = reader.read(io.BytesIO(archive.read(pickled)))
            for note in reader.storages.values():
                _check_storage(note, entries.get(f"{folder}data/{note.key}"))

            def read_storage(note: StorageNote) -> Tensor:
                with archive.open(f"{folder}data/{note.key}") as stream:
                    return _numbers(stream.read(note.size_bytes), note)

            yield TorchFile(content, read_storage)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeError, struct.error) as error:
        raise ImportRefusedError(f"its zip container is damaged or truncated ({error})") from error


def _check_directory(path: Path) -> None:
    """Refuse a directory that would fill the memory, before it is read."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        tail = stream.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) < place + 22:
        raise ImportRefusedError("its zip container has no end: the file is truncated")
    entries, size = struct.unpack_from("<HI", tail, place + 10)
    wide = tail.rfind(b"PK\x06\x06", 0, place)
    if wide >= 0 and len(tail) >= wide + 48:
        entries, size = struct.unpack_from("<QQ", tail, wide + 32)
    if entries > MOST_ENTRIES or size > MOST_DIRECTORY_BYTES:
        raise ImportRefusedError(f"its zip container claims {entries} entries, which is too many")


def _check_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename
        if name.startswith("/") or "\\" in entry.orig_filename or ".." in name.split("/"):
            raise ImportRefusedError(f"it has an entry that points outside of it: {name!r:.80}")
        if name in entries:
            raise ImportRefusedError(f"it has two entries of the name {name!r:.80}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ImportRefusedError(
                f"its entry {name!r:.80} is compressed, which torch.save never does (a small file "
                "could unpack to any size); load it where it came from and save it again"
            )
        if entry.flag_bits & 1:
            raise ImportRefusedError("it is encrypted")
        entries[name] = entry
    return entries


def _find_folder(entries: dict[str, zipfile.ZipInfo]) -> str:
    """Return the folder in the archive that everything lies in, with its slash."""
    found = [name for name in entries if name.count("/") <= 1 and name.split("/")[-1] == "data.pkl"]
    if len(found) != 1:
        raise ImportRefusedError(
            "it is a zip file, but not one of torch.save: it has no single data.pkl"
        )
    folder = found[0].removesuffix("data.pkl")
    if folder + "constants.pkl" in entries:
        raise ImportRefusedError(
            "it is a TorchScript program, not a checkpoint; save its state_dict() with torch.save"
        )
    return folder


def _check_storage(note: StorageNote, entry: zipfile.ZipInfo | None) -> None:
    if entry is None:
        raise ImportRefusedError(f"it lacks the numbers of the storage {note.key!r}")
    if entry.file_size != note.size_bytes:
        raise ImportRefusedError(
            f"its storage {note.key!r} is declared to have {note.size_bytes} bytes, but has "
            f"{entry.file_size}"
        )


@contextmanager
def open_legacy(path: Path) -> Iterator[TorchFile]:
    """Open a file of torch before 1.6: five pickles, then the storages in the order of the last.

    Raises:
        ImportRefusedError: it is damaged, or was not written by torch.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        if TorchPickle().read(stream) != MAGIC or TorchPickle().read(stream) != LEGACY_PROTOCOL:
            raise ImportRefusedError(
                "it is a pickle, but not one of torch.save; save the state_dict() with torch.save"
            )
        system = TorchPickle().read(stream)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ImportRefusedError("it was written on a big-endian machine")
        reader = TorchPickle()
        content = reader.read(stream)
        places = _find_storages(stream, reader.storages, TorchPickle().read(stream), size)

        def read_storage(note: StorageNote) -> Tensor:
            stream.seek(places[note.key])
            return _numbers(stream.read(note.size_bytes), note)

        yield TorchFile(content, read_storage)


def _find_storages(
    stream: BinaryIO, notes: dict[str, StorageNote], keys: object, size: int
) -> dict[str, int]:
    """Return where in the file the numbers of each storage start."""
    if not isinstance(keys, list) or any(not isinstance(key, str) for key in keys):
        raise ImportRefusedError("its list of storages is damaged")
    if len(set(keys)) != len(keys) or not notes.keys() <= set(keys):
        raise ImportRefusedError("its list of storages does not fit the tensors")
    places: dict[str, int] = {}
    for key in keys:
        header = stream.read(8)
        note = notes.get(key)
        if len(header) < 8 or note is None:  # noqa: PLR2004
            raise ImportRefusedError("its storages end too early: the file is truncated")
        (length,) = struct.unpack("<q", header)
        places[key] = stream.tell()
        if length != note.length:
            raise ImportRefusedError(
                f"its storage {key!r} is declared to have {note.length} elements, but has {length}"
            )
        if places[key] + note.size_bytes > size:
            raise ImportRefusedError("its storages end too early: the file is truncated")
        stream.seek(note.size_bytes, io.SEEK_CUR)
    return places


def _numbers(raw: bytes, note: StorageNote) -> Tensor:
    if len(raw) != note.size_bytes:
        raise ImportRefusedError("its storages end too early: the file is truncated")
    if not raw:
        return torch.empty(0, dtype=note.kind)
    return torch.frombuffer(bytearray(raw), dtype=note.kind)
