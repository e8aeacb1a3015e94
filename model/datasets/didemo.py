"""DiDeMo as paragraph retrieval: all descriptions of a video are joined to one text.

Files: `test_data.json`, `val_data.json`, `train_data.json`, lists of {"video": "....mov",
"description", "times"}. Videos are called as there, with whatever suffix they were stored with.
"""

from collections.abc import Iterator
from pathlib import Path

from model.datasets.items import DatasetError, Item, Split, collect, find_file, read_json
from model.datasets.videos import bare_name

SPLITS: tuple[Split, ...] = ("test", "val", "train")


def read(annotations: Path, split: Split) -> list[Item]:
    """Return the videos of a split.

    Raises:
        DatasetError: the file is missing or has another layout.
    """
    name = f"{split}_data.json"
    path = find_file(annotations, (name,), what=f"The {split} split of DiDeMo", is_main=True)
    texts = collect(path, _descriptions(path))
    return [Item(bare_name(video), (" ".join(each),)) for video, each in texts.items()]


def _descriptions(path: Path) -> Iterator[tuple[object, object]]:
    found = read_json(path)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DatasetError(f"{path} is no list of descriptions")
    for one in found:
        yield one.get("video"), one.get("description")
