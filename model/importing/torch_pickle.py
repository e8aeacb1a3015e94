"""How torch writes tensors into a pickle: storages by persistent ids, tensors as views of them."""

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from model.importing.errors import ImportRefusedError
from model.importing.pickle_reader import PickleReader, Rebuild
from model.importing.pickle_values import Name

KINDS: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""The storages that files of weights hold, by their names in torch."""

MOST_DIMENSIONS = 8
MOST_STORAGES = 100_000


@dataclass(frozen=True)
class StorageNote:
    """What the pickle says of a storage: its key in the file, type, and number of elements."""

    key: str
    kind: torch.dtype
    length: int

    @property
    def size_bytes(self) -> int:
        """Bytes that it must take in the file."""
        return self.length * self.kind.itemsize


@dataclass(frozen=True)
class TensorNote:
    """What the pickle says of a tensor: a view of a storage, counted in elements."""

    storage: StorageNote
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * self.storage.kind.itemsize

    @property
    def is_dense(self) -> bool:
        """Whether it lies in its storage in row-major order without gaps."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True


class TorchPickle:
    """Reads pickles of torch and notes the storages they name."""

    def __init__(self) -> None:
        self.storages: dict[str, StorageNote] = {}

    def read(self, stream: BinaryIO) -> Any:
        """Return what one pickle describes; tensors in it are `TensorNote`.

        Raises:
            ImportRefusedError: it is damaged, or a tensor does not lie within its storage.
        """
        return PickleReader(stream, rebuild=_REBUILD, persistent=self._storage).read()

    def _storage(self, given: object) -> StorageNote:
        """Read `("storage", kind, key, device, length)`; older files add a view, always None."""
        if not isinstance(given, tuple) or len(given) not in (5, 6) or given[0] != "storage":
            raise ImportRefusedError(
                "it refers to something outside that is no storage of a tensor"
            )
        _, kind, key, _, length = given[:5]
        if len(given) == 6 and given[5] is not None:  # noqa: PLR2004
            raise ImportRefusedError("it holds views of storages, as files of before torch 0.4 do")
        if not isinstance(kind, Name) or kind.module != "torch" or kind.name not in KINDS:
            raise ImportRefusedError(
                f"it holds tensors of the kind {_shown(kind)}, not plain numbers"
            )
        if not isinstance(key, str) or not key.isalnum() or not key.isascii():
            raise ImportRefusedError(f"it names a storage {key!r:.80}, which is no plain number")
        if not _is_size(length):
            raise ImportRefusedError(f"it declares a storage of {length!r:.80} elements")
        note = StorageNote(key, KINDS[kind.name], length)
        if self.storages.setdefault(key, note) != note:
            raise ImportRefusedError(f"it describes the storage {key!r} in two different ways")
        if len(self.storages) > MOST_STORAGES:
            raise ImportRefusedError(f"it has more than {MOST_STORAGES} storages")
        return note


def _rebuild_tensor(arguments: tuple[Any, ...]) -> TensorNote:
    """Note `(storage, offset, shape, strides, ...)`, refusing what reaches outside the storage."""
    if len(arguments) < 4 or not isinstance(arguments[0], StorageNote):  # noqa: PLR2004
        raise ImportRefusedError("it describes a tensor without a storage")
    storage, offset, shape, strides = arguments[:4]
    if not _is_size(offset) or not _are_sizes(shape) or not _are_sizes(strides):
        raise ImportRefusedError("it describes a tensor whose shape is not made of whole numbers")
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise ImportRefusedError(f"it describes a tensor of {len(shape)} dimensions wrongly")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > storage.length or (count and last >= storage.length) or offset > storage.length:
        raise ImportRefusedError(
            f"it describes a tensor of shape {shape} that reaches outside its storage of "
            f"{storage.length} elements"
        )
    return TensorNote(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(arguments: tuple[Any, ...]) -> TensorNote:
    """A parameter is its tensor."""
    if not arguments or not isinstance(arguments[0], TensorNote):
        raise ImportRefusedError("it describes a parameter without a tensor")
    return arguments[0]


def _rebuild_size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """A size is a tuple."""
    size = arguments[0] if arguments else ()
    if not _are_sizes(size):
        raise ImportRefusedError("it describes a size that is not made of whole numbers")
    return tuple(size)


def _rebuild_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Return an empty mapping, or one of pairs as Python 2 wrote it."""
    pairs = arguments[0] if arguments else []
    if not isinstance(pairs, list):
        raise ImportRefusedError("it describes a mapping wrongly")
    made: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004
            raise ImportRefusedError("it describes a mapping wrongly")
        made[pair[0]] = pair[1]
    return made


_REBUILD: dict[Name, Rebuild] = {
    Name("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    Name("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    Name("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    Name("torch", "Size"): _rebuild_size,
    Name("collections", "OrderedDict"): _rebuild_dict,
}


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _are_sizes(values: object) -> bool:
    return isinstance(values, list | tuple) and all(_is_size(value) for value in values)


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Name) else "of no name"
