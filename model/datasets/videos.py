"""Find the files of a dataset's videos, wherever below a folder they lie."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from model.datasets.items import DatasetError, Item
from model.video.suffixes import VIDEO_SUFFIXES


def bare_name(name: str) -> str:
    """Return the name of a video without its suffixes: `x.mov.mp4` -> `x`; dots in it stay."""
    while name.lower().endswith(VIDEO_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def find_videos(folder: Path, items: Iterable[Item]) -> dict[str, Path]:
    """Return the file of each video that has one, by its name.

    Args:
        folder: searched with its subfolders; a link to a file is as good as the file.
        items: whose videos are wanted.

    Raises:
        DatasetError: there is no such folder, or two files could be the same video.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder of videos")
    by_name: dict[str, list[Path]] = defaultdict(list)
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(VIDEO_SUFFIXES):
                by_name[bare_name(name)].append(Path(parent) / name)
    found: dict[str, Path] = {}
    for item in items:
        paths = next((by_name[n] for n in (item.name, *item.other_names) if n in by_name), [])
        if len(paths) > 1:
            raise DatasetError(f"{item.name} is there twice: {paths[0]} and {paths[1]}; remove one")
        if paths:
            found[item.name] = paths[0]
    return found
