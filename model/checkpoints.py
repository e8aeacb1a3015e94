"""Checkpoints of a run: each is a folder that is whole or not there.

    step-00000120/run.safetensors
                  manifest.json     digests of the files, settings of the run, facts

Written beside its place, synced, renamed: a kill or a power cut leaves the one before.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE, MANIFEST = "run.safetensors", "manifest.json"
PREFIX, PARTIAL = "step-", ".partial-"
KEPT = 3


class CheckpointError(ValueError):
    """The checkpoints are of another run."""


@dataclass(frozen=True)
class Checkpoint:
    """One that was found whole.

    Attributes:
        folder: where it is.
        step: how many steps were taken.
        facts: what else the run noted, as JSON.
    """

    folder: Path
    step: int
    facts: dict[str, Any]

    @property
    def state(self) -> Path:
        """The file that training reads."""
        return self.folder / STATE


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: holds them; it is made.
        settings: what the run depends on, as JSON; checkpoints of other settings are refused.
    """

    folder: Path
    settings: Mapping[str, Any]

    def save(self, step: int, write: Callable[[Path], None], facts: Mapping[str, Any]) -> None:
        """Write a checkpoint, and remove all but the newest ones.

        Args:
            step: how many steps were taken.
            write: called with the file to write the state to.
            facts: what else resuming needs, as JSON.

        Raises:
            OSError: the disk is full, or does not keep what it was given.
        """
        self._clear()
        partial = self.folder / f"{PARTIAL}{step:08d}"
        partial.mkdir(parents=True)
        write(partial / STATE)
        manifest = {
            "step": step,
            "settings": _digest_of(self.settings),
            "facts": facts,
            "files": {STATE: _digest_file(partial / STATE)},
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        sync_tree(partial)
        place = self.folder / f"{PREFIX}{step:08d}"
        shutil.rmtree(place, ignore_errors=True)  # a damaged one of the same step
        partial.rename(place)
        sync_folder(self.folder)
        for old in list(self._newest_first())[KEPT:]:
            shutil.rmtree(old)

    def newest(self, damaged: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; None: there is none.

        Args:
            damaged: called with a sentence about each newer one that is not.

        Raises:
            CheckpointError: it was made with other settings.
        """
        for folder in self._newest_first():
            try:
                return self._open(folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, CheckpointError):
                    raise
                damaged(f"The checkpoint {folder.name} is damaged and was skipped: {error}.")
        return None

    @property
    def is_empty(self) -> bool:
        """Whether there is no checkpoint, whole or not."""
        return next(self._newest_first(), None) is None

    def _open(self, folder: Path) -> Checkpoint:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, digest in manifest["files"].items():
            if _digest_file(folder / name) != digest:
                raise ValueError(f"{name} is not what was written")
        if manifest["settings"] != _digest_of(self.settings):
            raise CheckpointError(
                f"the run in {self.folder} was started with other settings or pairs; give the "
                "same ones, or remove that folder to start anew"
            )
        return Checkpoint(folder, int(manifest["step"]), dict(manifest["facts"]))

    def _newest_first(self) -> Iterator[Path]:
        yield from sorted(self.folder.glob(f"{PREFIX}*"), reverse=True)

    def _clear(self) -> None:
        for partial in self.folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(partial)


def sync_tree(folder: Path) -> None:
    """Make the files directly below a folder durable, and their names."""
    for path in folder.iterdir():
        _sync(path, os.O_RDONLY)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def write_durably(path: Path, text: str) -> None:
    """Write a text file that is whole or not there."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    _sync(partial, os.O_RDONLY)
    partial.replace(path)
    sync_folder(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_of(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
