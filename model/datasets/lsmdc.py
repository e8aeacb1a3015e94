"""LSMDC 2016: clips of films, one sentence each; 1,000 of them are the public test split.

Files: `LSMDC16_challenge_1000_publictect.csv`, `LSMDC16_annos_val.csv`,
`LSMDC16_annos_training.csv`: columns divided by tabs, no header, the clip first and its sentence
last. Clips are called as there, usually in a folder for each film.
"""

from collections.abc import Iterator
from pathlib import Path

from model.datasets.items import DatasetError, Item, Split, collect, find_file, read_lines

SPLITS: tuple[Split, ...] = ("test", "val", "train")
FILES: dict[Split, tuple[str, ...]] = {
    "test": ("LSMDC16_challenge_1000_publictect.csv", "LSMDC16_challenge_1000_publictest.csv"),
    "val": ("LSMDC16_annos_val.csv",),
    "train": ("LSMDC16_annos_training.csv",),
}
FEWEST_COLUMNS = 2


def read(annotations: Path, split: Split) -> list[Item]:
    """Return the clips of a split.

    Raises:
        DatasetError: the file is missing or has another layout.
    """
    path = find_file(annotations, FILES[split], what=f"The {split} split of LSMDC", is_main=True)
    texts = collect(path, _rows(path))
    return [Item(name, tuple(sentences)) for name, sentences in texts.items()]


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for line in read_lines(path):
        columns = line.split("\t")
        if len(columns) < FEWEST_COLUMNS:
            raise DatasetError(f"{path}: {line!r:.80} has no columns divided by tabs")
        yield columns[0], columns[-1]
