"""The tensors of a checkpoint file of others, read without running anything that is in it.

Read are files of `torch.save` (zip, and the form before torch 1.6) and safetensors. The form is
told by the content, never by the name.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.importing.errors import ImportRefusedError
from model.importing.pickle_values import Made, Name
from model.importing.safetensors_file import read_safetensors
from model.importing.torch_file import ReadStorage, TorchFile, open_legacy, open_zip
from model.importing.torch_pickle import TensorNote

__all__ = ["Checkpoint", "ImportRefusedError", "read_tensors"]

MOST_TENSORS = 50_000
MOST_TENSOR_BYTES = 16 * 1024**3
MOST_SHARING = 4
"""Tensors may share their numbers; together they may show each at most so often."""
DEEPEST = 4
HOLDERS = ("state_dict", "model_state_dict", "model", "module", "weights", "params")
"""Under which names trainers put the table of weights, the likeliest first."""
MOST_NOTES = 2_000
LONGEST_NOTE = 1_000


class Checkpoint(NamedTuple):
    """What a checkpoint file holds.

    Attributes:
        tensors: the table of weights, by name, as stored; views of one storage stay views.
        metadata: `container` ("torch", "torch before 1.6" or "safetensors"), `table` (under which
            key the weights were found, "" at the top), `not_tensors` (names in the table that are
            none), `others` (what else was at the top), `noted` (plain values that were kept with
            the weights, as epoch and hyper-parameters).
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def read_tensors(path: Path) -> Checkpoint:
    """Read the table of weights of a file.

    Only this table is read; states of optimisers and the like stay in the file.

    Args:
        path: a file of `torch.save` that holds a state dict, or a dict with one under
            `state_dict` or the like; or a safetensors file.

    Raises:
        ImportRefusedError: the file is damaged, or no file of weights.
    """
    try:
        return _read(path)
    except OSError as error:
        raise ImportRefusedError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ImportRefusedError as error:
        raise ImportRefusedError(f"{path} was refused: {error}.") from error


def _read(path: Path) -> Checkpoint:
    if path.is_dir():
        raise ImportRefusedError("it is a folder; give the file of weights in it")
    if path.exists() and not path.is_file():
        raise ImportRefusedError("it is not a file")
    with path.open("rb") as stream:
        start = stream.read(9)
    if not start:
        raise ImportRefusedError("it is empty; download it again")
    if start.startswith(b"PK\x03\x04"):
        return _read_torch(open_zip(path), "torch", path)
    if start.startswith(b"\x80"):
        return _read_torch(open_legacy(path), "torch before 1.6", path)
    if start[8:] == b"{":
        tensors, noted = read_safetensors(path)
        _check_amount([tensor.nbytes for tensor in tensors.values()], path)
        return Checkpoint(
            tensors,
            {
                "container": "safetensors",
                "table": "",
                "not_tensors": [],
                "others": [],
                "noted": dict(noted),
            },
        )
    raise ImportRefusedError(
        "it is neither a file of torch.save nor safetensors; a page or a text saved in place of "
        "the weights looks like this"
    )


def _read_torch(
    opening: AbstractContextManager[TorchFile], container: str, path: Path
) -> Checkpoint:
    with opening as opened:
        table, under = _find_table(opened.content)
        notes = {name: note for name, note in table.items() if isinstance(note, TensorNote)}
        _check_amount([note.size_bytes for note in notes.values()], path)
        tensors = _read_notes(notes, opened.read_storage)
        top = opened.content if under else {}
        others = {name: value for name, value in top.items() if name != under.split(".")[0]}
        return Checkpoint(
            tensors,
            {
                "container": container,
                "table": under,
                "not_tensors": sorted(str(name) for name in table.keys() - notes.keys()),
                "others": sorted(str(_shown(name)) for name in others),
                "noted": _Notes().of(
                    {name: others[name] for name in others if "optimizer" not in str(name)}
                ),
            },
        )


def _find_table(content: Any) -> tuple[dict[str, Any], str]:
    """Return the table of weights and under which keys it was found."""
    under: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(content, dict):
            break
        holder = next((name for name in HOLDERS if _is_table(content.get(name))), None)
        if holder is None:
            break
        under.append(holder)
        content = content[holder]
    if not isinstance(content, dict) or not any(
        isinstance(v, TensorNote) for v in content.values()
    ):
        raise ImportRefusedError(
            "it holds no table of named tensors (a state dict); save the state_dict() of the model"
        )
    for name in content:
        if not isinstance(name, str) or not name.isprintable() or len(name) > LONGEST_NOTE:
            raise ImportRefusedError("a name in its table of weights is not plain text")
    return content, ".".join(under)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(entry, TensorNote | dict) for entry in value.values()
    )


def _check_amount(sizes: list[int], path: Path) -> None:
    if len(sizes) > MOST_TENSORS:
        raise ImportRefusedError(f"it holds more than {MOST_TENSORS} tensors")
    if sum(sizes) > min(MOST_TENSOR_BYTES, MOST_SHARING * path.stat().st_size):
        raise ImportRefusedError(
            f"its tensors need {sum(sizes)} bytes, more than a file of its size may hold"
        )


def _read_notes(notes: dict[str, TensorNote], read_storage: ReadStorage) -> dict[str, Tensor]:
    """Read each storage once; a tensor is a view of it if it lies in one piece, else a copy."""
    storages: dict[str, Tensor] = {}
    tensors: dict[str, Tensor] = {}
    for name, note in notes.items():
        key = note.storage.key
        if key not in storages:
            storages[key] = read_storage(note.storage)
        view = torch.as_strided(storages[key], note.shape, note.strides, note.offset)
        tensors[name] = view if note.is_dense else view.contiguous()
    return tensors


class _Notes:
    """Plain values out of what was saved beside the weights, within bounds."""

    def __init__(self) -> None:
        self._left = MOST_NOTES

    def of(self, value: Any, depth: int = DEEPEST) -> Any:
        """Return a value as JSON can hold it; what is not plain becomes its kind in brackets."""
        self._left -= 1
        if isinstance(value, Made) and value.items:
            value = value.items
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return value[:LONGEST_NOTE]
        if depth and isinstance(value, dict):
            return {
                str(_shown(key))[:80]: self.of(value[key], depth - 1) for key in self._some(value)
            }
        if depth and isinstance(value, list | tuple):
            return [self.of(item, depth - 1) for item in self._some(value)]
        return f"<{_shown(value)}>"

    def _some(self, values: Any) -> list[Any]:
        return list(values)[: max(0, min(self._left, 200))]


def _shown(value: Any) -> Any:
    if isinstance(value, str | int | float | Name) or value is None:
        return value
    if isinstance(value, Made):
        return value.by if isinstance(value.by, Name) else "object"
    return "tensor" if isinstance(value, TensorNote) else type(value).__name__
