"""ActivityNet Captions as paragraph retrieval: the sentences of a video are joined to one text.

Files: `val_1.json` (what papers call the test split), `val_2.json`, `train.json`, each
{"v_...": {"duration", "timestamps", "sentences"}}. Videos are called `v_...` or without the `v_`.
"""

from collections.abc import Iterator
from pathlib import Path

from model.datasets.items import DatasetError, Item, Split, collect, find_file, read_json

SPLITS: tuple[Split, ...] = ("test", "val", "train")
FILES: dict[Split, str] = {"test": "val_1.json", "val": "val_2.json", "train": "train.json"}
PREFIX = "v_"


def read(annotations: Path, split: Split) -> list[Item]:
    """Return the videos of a split.

    Raises:
        DatasetError: the file is missing or has another layout.
    """
    what = f"The {split} split of ActivityNet Captions"
    path = find_file(annotations, (FILES[split],), what=what, is_main=True)
    texts = collect(path, _sentences(path))
    return [
        Item(name, (" ".join(sentences),), (name.removeprefix(PREFIX),))
        for name, sentences in texts.items()
    ]


def _sentences(path: Path) -> Iterator[tuple[object, object]]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise DatasetError(f"{path} is no table of videos")
    for name, video in found.items():
        sentences = video.get("sentences") if isinstance(video, dict) else None
        if not isinstance(sentences, list):
            raise DatasetError(f"{path}: {name} has no list 'sentences'")
        for sentence in sentences:
            yield name, sentence
