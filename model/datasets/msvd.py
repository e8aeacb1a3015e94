"""MSVD: 670 test videos with some 40 captions each; every caption is a query.

Files: `test_list.txt`, `val_list.txt`, `train_list.txt` (a video a line), or
`youtube_mapping.txt` (video and `vidN` a line), whose numbers give the usual 1200 / 100 / 670
split; and the captions as `raw-captions.pkl` ({video: [words of a caption, ...]}),
`AllVideoDescriptions.txt` (video, blank, caption) or `MSR Video Description Corpus.csv`. The
pickle is read as data and never run.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.datasets.items import (
    DatasetError,
    Item,
    Split,
    collect,
    find_file,
    pick,
    read_lines,
    read_text,
)
from model.importing.errors import ImportRefusedError
from model.importing.pickle_reader import PickleReader

SPLITS: tuple[Split, ...] = ("test", "val", "train")
CAPTIONS = (
    "raw-captions.pkl",
    "AllVideoDescriptions.txt",
    "MSR Video Description Corpus.csv",
    "video_corpus.csv",
)
MAPPING = "youtube_mapping.txt"
NUMBERS: dict[Split, range] = {
    "train": range(1, 1201),
    "val": range(1201, 1301),
    "test": range(1301, 1971),
}
"""The videos of each split by the N of `vidN` (Venugopalan et al., NAACL 2015)."""
COLUMNS = ("VideoID", "Start", "End", "Language", "Description")
LANGUAGE = "English"


def read(annotations: Path, split: Split) -> list[Item]:
    """Return the videos of a split.

    Raises:
        DatasetError: a file is missing or has another layout.
    """
    path = find_file(annotations, CAPTIONS, what="The file of all captions of MSVD")
    readers = {".pkl": _from_pickle, ".txt": _from_text}
    captions = readers.get(path.suffix, _from_table)(path)
    names = (f"{split}_list.txt", MAPPING)
    listed = find_file(annotations, names, what=f"The list of the {split} split of MSVD")
    texts = collect(path, captions)
    if listed.name != MAPPING:
        return pick(texts, read_lines(listed), path)
    numbers = _mapping(listed)
    chosen = [name for name, number in numbers.items() if number in NUMBERS[split]]
    return [
        Item(item.name, item.texts, (f"vid{numbers[item.name]}",))
        for item in pick(texts, sorted(chosen, key=numbers.__getitem__), path)
    ]


def _from_pickle(path: Path) -> Iterator[tuple[object, object]]:
    try:
        with path.open("rb") as stream:
            found = PickleReader(stream, rebuild={}, persistent=_refuse).read()
    except (OSError, ImportRefusedError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as captions: {error}") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{path} holds no table of videos and captions")
    for name, captions in found.items():
        if not isinstance(captions, list | tuple):
            raise DatasetError(f"{path}: {name!r:.80} has no list of captions")
        for caption in captions:
            yield name, _joined(caption)


def _joined(caption: Any) -> object:
    """Return a caption that is stored as its words."""
    if isinstance(caption, list | tuple) and all(isinstance(word, str) for word in caption):
        return " ".join(caption)
    return caption


def _refuse(_given: object) -> object:
    raise ImportRefusedError("it refers to something outside of it")


def _from_text(path: Path) -> Iterator[tuple[object, object]]:
    for line in read_lines(path):
        if not line.startswith("#"):
            name, _, caption = line.strip().partition(" ")
            yield name, caption


def _from_table(path: Path) -> Iterator[tuple[object, object]]:
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise DatasetError(f"{path} has no column {missing[0]!r}: is it another table?")
    for row in rows:
        if row["Language"] == LANGUAGE:
            yield f"{row['VideoID']}_{row['Start']}_{row['End']}", row["Description"] or ""


def _mapping(path: Path) -> dict[str, int]:
    """Return the number of each video."""
    numbers: dict[str, int] = {}
    for line in read_lines(path):
        name, _, number = line.strip().partition(" ")
        digits = number.strip().removeprefix("vid")
        if not digits.isdecimal():
            raise DatasetError(f"{path}: {line.strip()!r:.80} is no video and its vidN")
        numbers[name] = int(digits)
    return numbers
