"""Open a dataset by its name: its items, and the file of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from model.datasets import activitynet, didemo, lsmdc, msrvtt, msvd
from model.datasets.items import DatasetError, Item, Split, shown
from model.datasets.videos import find_videos

DatasetName = Literal["msrvtt", "didemo", "msvd", "lsmdc", "activitynet"]
DATASETS: tuple[DatasetName, ...] = get_args(DatasetName)


@dataclass(frozen=True)
class Layout:
    """How one dataset is written down.

    Attributes:
        splits: those that it has.
        read: reads one of them from a file or folder.
    """

    splits: tuple[Split, ...]
    read: Callable[[Path, Split], list[Item]]


LAYOUTS: dict[DatasetName, Layout] = {
    "msrvtt": Layout(msrvtt.SPLITS, msrvtt.read),
    "didemo": Layout(didemo.SPLITS, didemo.read),
    "msvd": Layout(msvd.SPLITS, msvd.read),
    "lsmdc": Layout(lsmdc.SPLITS, lsmdc.read),
    "activitynet": Layout(activitynet.SPLITS, activitynet.read),
}


class MissingVideosError(DatasetError):
    """Some videos of the split have no file."""


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset as it lies on this machine.

    Attributes:
        name: which dataset.
        split: which part of it.
        items: the videos that have a file, in the order of the annotation.
        files: the file of each.
        missing: names of those that have none and are left out.
    """

    name: DatasetName
    split: Split
    items: tuple[Item, ...]
    files: tuple[Path, ...]
    missing: tuple[str, ...]


def open_dataset(
    name: DatasetName,
    *,
    annotations: Path,
    videos: Path,
    split: Split = "test",
    limit: int | None = None,
    skip_missing: bool = False,
) -> Dataset:
    """Read the annotation of a split and find its videos.

    Args:
        name: which dataset.
        annotations: its annotation file, or a folder with it.
        videos: folder with the videos, in subfolders or not.
        split: which part.
        limit: only the first so many videos; the figures are then not those of papers.
        skip_missing: leave out the videos that have no file. A smaller gallery is easier.

    Raises:
        MissingVideosError: some videos, or all, have no file.
        DatasetError: an annotation is missing or damaged, or the dataset has no such split.
    """
    layout = LAYOUTS[name]
    if split not in layout.splits:
        raise DatasetError(f"{name} has no split {split}, only {', '.join(layout.splits)}")
    items = layout.read(annotations, split)[:limit]
    found = find_videos(videos, items)
    missing = tuple(item.name for item in items if item.name not in found)
    if missing and (not skip_missing or not found):
        raise MissingVideosError(f"Of {len(items)} videos, {shown(missing)} are not below {videos}")
    there = tuple(item for item in items if item.name in found)
    return Dataset(name, split, there, tuple(found[item.name] for item in there), missing)


def pairs(dataset: Dataset, videos: Path) -> Iterator[dict[str, Any]]:
    """Yield what training reads, one object a video: a line each in a JSON Lines file.

    Args:
        dataset: usually the training split.
        videos: folder that files are named from.
    """
    for item, path in zip(dataset.items, dataset.files, strict=True):
        yield {"file": str(path.relative_to(videos)), "captions": list(item.texts)}
