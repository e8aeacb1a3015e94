"""MSR-VTT in the 1k-A split of JSFusion: 1,000 videos with one caption each.

Files: `MSRVTT_JSFUSION_test.csv` (key, vid_key, video_id, sentence); for training
`MSRVTT_train.9k.csv` (video_id) and `MSRVTT_data.json` ({"sentences": [{"video_id", "caption"}]}),
20 captions a video.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from model.datasets.items import (
    DatasetError,
    Item,
    Split,
    collect,
    find_file,
    pick,
    read_json,
    read_text,
)

SPLITS: tuple[Split, ...] = ("test", "train")
TEST = ("MSRVTT_JSFUSION_test.csv",)
TRAIN = ("MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv")
CAPTIONS = ("MSRVTT_data.json", "train_val_videodatainfo.json")


def read(annotations: Path, split: Split) -> list[Item]:
    """Return the videos of a split.

    Raises:
        DatasetError: a file is missing or has another layout.
    """
    if split == "test":
        path = find_file(annotations, TEST, what="The list of the 1k-A test split", is_main=True)
        texts = collect(path, ((row[0], row[1]) for row in _rows(path, "video_id", "sentence")))
        return [Item(name, tuple(captions)) for name, captions in texts.items()]
    path = find_file(annotations, CAPTIONS, what="The file of all captions")
    listed = find_file(annotations, TRAIN, what="The list of the training split")
    return pick(
        collect(path, _sentences(path)), (row[0] for row in _rows(listed, "video_id")), path
    )


def _rows(path: Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """Yield some columns of a table with a header."""
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [column for column in columns if column not in (rows.fieldnames or ())]
    if missing:
        raise DatasetError(f"{path} has no column {missing[0]!r}: is it another table?")
    for row in rows:
        yield tuple(row[column] or "" for column in columns)


def _sentences(path: Path) -> Iterator[tuple[object, object]]:
    found = read_json(path)
    sentences = found.get("sentences") if isinstance(found, dict) else None
    if not isinstance(sentences, list) or not all(isinstance(one, dict) for one in sentences):
        raise DatasetError(f"{path} has no list 'sentences' of captions")
    for one in sentences:
        yield one.get("video_id"), one.get("caption")
