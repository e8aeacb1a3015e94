"""Tensors of files that others trained, taken one by one and accounted for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from model.importing.checkpoint_file import read_tensors
from model.importing.errors import ImportRefusedError
from model.importing.report import Report

Shapes = Mapping[str, tuple[int, ...]]
LISTED = 3


@dataclass(frozen=True)
class Foreign:
    """The tensors of one file.

    Attributes:
        path: where it is.
        tensors: what it holds, by bare name.
        keys: what each is called in the file, by bare name.
        report: where it is noted what becomes of each.
        taken: what was taken so far, with our names for it.
    """

    path: Path
    tensors: dict[str, Tensor]
    keys: dict[str, str]
    report: Report
    taken: dict[str, list[str]] = field(default_factory=dict)

    def take(
        self, wanted: Shapes, names: Callable[[str], tuple[str, ...]], *, optional: Iterable[str]
    ) -> dict[str, Tensor]:
        """Return tensors of ours, float32.

        Args:
            wanted: shapes by our names.
            names: from ours to theirs.
            optional: beginnings of our names that the file may lack.

        Raises:
            ImportRefusedError: one is missing, of another shape, or no proper numbers.
        """
        found: dict[str, Tensor] = {}
        missing: list[str] = []
        for name, shape in wanted.items():
            parts = names(name)
            lacking = [part for part in parts if part not in self.tensors]
            if not parts or (lacking and name.startswith(tuple(optional))):
                continue
            if lacking:
                missing += lacking
                continue
            part_shape = (shape[0] // len(parts), *shape[1:])
            found[name] = torch.cat([self._take(part, part_shape, name) for part in parts])
        if missing:
            raise ImportRefusedError(
                f"{self.path} lacks {_listed(missing)}: it is incomplete, or of another network."
            )
        return found

    def ignore(self, beginnings: Mapping[str, str]) -> None:
        """Leave tensors out that are known not to matter here.

        Args:
            beginnings: of their bare names, or `*` and an end; and why.
        """
        for name in self.tensors.keys() - self.taken.keys():
            for known, reason in beginnings.items():
                is_end = known.startswith("*") and name.endswith(known[1:])
                if is_end or name.startswith(known):
                    self.report.ignored[self.keys[name]] = reason
                    self.taken[name] = []
                    break

    def finish(self, what: str) -> None:
        """Note what was taken.

        Args:
            what: the file should be, for messages.

        Raises:
            ImportRefusedError: something was neither taken nor is known not to matter.
        """
        if unknown := sorted(self.tensors.keys() - self.taken.keys()):
            raise ImportRefusedError(
                f"{self.path} has {_listed([self.keys[name] for name in unknown])}, which {what} "
                "has: without it the numbers would differ."
            )
        renamed: dict[str, list[str]] = {}
        for name, ours in self.taken.items():
            renamed.setdefault(self.keys[name], []).extend(ours)
        self.report.renamed.update(
            {key: " and ".join(ours) for key, ours in renamed.items() if ours}
        )

    def _take(self, part: str, shape: tuple[int, ...], ours: str) -> Tensor:
        key, tensor = self.keys[part], self.tensors[part]
        if tuple(tensor.shape) != shape:
            raise ImportRefusedError(
                f"{self.path}: {key!r} has the shape {tuple(tensor.shape)}, not {shape}."
            )
        if not tensor.is_floating_point():
            raise ImportRefusedError(
                f"{self.path}: {key!r} holds {tensor.dtype}, not floating-point numbers."
            )
        if not bool(tensor.isfinite().all()):
            raise ImportRefusedError(
                f"{self.path}: {key!r} holds numbers that are not finite (NaN or infinity)."
            )
        self.taken.setdefault(part, []).append(ours)
        return tensor.to(torch.float32)


def open_foreign(path: Path, report: Report, rename: Callable[[str], str]) -> Foreign:
    """Read a file of tensors.

    Args:
        path: as `read_tensors` takes it.
        report: what became of each key is noted there.
        rename: from the name of a tensor in the file to its bare name.

    Raises:
        ImportRefusedError: the file is damaged, or two of its tensors have the same bare name.
    """
    checkpoint = read_tensors(path)
    for name in checkpoint.metadata["not_tensors"]:
        report.ignored[name] = "not a tensor"
    tensors: dict[str, Tensor] = {}
    keys: dict[str, str] = {}
    for key, tensor in checkpoint.tensors.items():
        name = rename(key)
        if name in keys:
            raise ImportRefusedError(f"{path} holds both {keys[name]!r} and {key!r}.")
        keys[name], tensors[name] = key, tensor
    return Foreign(path, tensors, keys, report)


def shape_of(foreign: Foreign, name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a tensor that sizes are read from.

    Raises:
        ImportRefusedError: there is none, or it has another number of dimensions.
    """
    if name not in foreign.tensors:
        raise ImportRefusedError(f"{foreign.path} lacks {name!r}: it is of another network.")
    shape = tuple(foreign.tensors[name].shape)
    if len(shape) != dimensions or not all(shape):
        raise ImportRefusedError(
            f"{foreign.path}: {foreign.keys[name]!r} has the shape {shape}, not one of "
            f"{dimensions} dimensions."
        )
    return shape


def count_of(foreign: Foreign, beginning: str) -> int:
    """Return how many numbered parts there are below a name: those of `a.0.b`, `a.1.b` are 2."""
    numbers = {
        name.removeprefix(beginning).split(".")[0]
        for name in foreign.tensors
        if name.startswith(beginning)
    }
    return len(numbers)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
