"""What an annotation file says: videos and their texts; and how such files are found and read."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "val", "test"]


class DatasetError(ValueError):
    """The dataset cannot be read as it lies there; the sentence says what is missing or wrong."""


@dataclass(frozen=True)
class Item:
    """One video of a dataset.

    Attributes:
        name: what the annotation calls it, and its file without suffix.
        texts: its captions, or one paragraph of them, at least one.
        other_names: what its file may be called instead.
    """

    name: str
    texts: tuple[str, ...]
    other_names: tuple[str, ...] = ()


def find_file(annotations: Path, names: Sequence[str], *, what: str, is_main: bool = False) -> Path:
    """Return the first of the files that there is.

    Args:
        annotations: folder to search, subfolders included; or a file: itself if it has the
            right name or is the main one, else its folder is searched.
        names: what the file may be called, best first.
        what: what is in it, for the error.
        is_main: `annotations`, if a file, is the one, whatever its name.

    Raises:
        DatasetError: there is none, or more than one.
    """
    if annotations.is_file() and (is_main or annotations.name in names):
        return annotations
    folder = annotations.parent if annotations.is_file() else annotations
    if not folder.is_dir():
        raise DatasetError(f"{annotations} does not exist")
    for name in names:
        found = sorted(path for path in folder.rglob(name) if path.is_file())
        if len(found) > 1:
            raise DatasetError(f"{what} is there twice: {found[0]} and {found[1]}; name the file")
        if found:
            return found[0]
    raise DatasetError(f"{what} is not below {folder}: no {' or '.join(names)}")


def read_text(path: Path) -> str:
    """Return the text of a file: UTF-8, or else Windows-1252, as some of these files are.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank.

    Only line feeds end a line: these files have other characters that `str.splitlines` cuts at.

    Raises:
        DatasetError: it cannot be read.
    """
    return [line.strip("\r") for line in read_text(path).split("\n") if line.strip()]


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DatasetError: it is none.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{path} is no JSON: {error}") from error


def collect(path: Path, captions: Iterable[tuple[object, object]]) -> dict[str, list[str]]:
    """Gather (video, caption) pairs by video, in the order of the file; empty captions go.

    Raises:
        DatasetError: a name or a caption is no text, or there is no caption at all.
    """
    texts: dict[str, list[str]] = {}
    for number, (name, caption) in enumerate(captions, start=1):
        if not isinstance(name, str) or not isinstance(caption, str) or not name.strip():
            raise DatasetError(f"{path}: entry {number} has no video and caption that are text")
        words = " ".join(caption.split())
        if words:
            texts.setdefault(name.strip(), []).append(words)
    if not texts:
        raise DatasetError(f"{path} has no captions")
    return texts


def pick(texts: dict[str, list[str]], names: Iterable[str], path: Path) -> list[Item]:
    """Return the items of a list of videos, in its order.

    Args:
        texts: captions by video.
        names: the list.
        path: file of the captions, for the error.

    Raises:
        DatasetError: the list is empty, or names videos without captions.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    without = [name for name in wanted if name not in texts]
    if not wanted:
        raise DatasetError(f"The list of videos to read from {path} is empty")
    if without:
        raise DatasetError(
            f"{path} has no captions for {shown(without)} of {len(wanted)} videos of the split"
        )
    return [Item(name, tuple(texts[name])) for name in wanted]


def shown(names: Sequence[str], most: int = 5) -> str:
    """Return how many there are and the first few of them, as `7 (a, b, c, d, e, ...)`."""
    listed = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} ({listed})" if names else "0"
