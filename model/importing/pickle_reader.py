"""A pickle, read as data.

A pickle is a program that builds objects by calling functions. This reader follows it without
calling any: every name in it becomes an inert `Name`, every call an inert `Made`. Only torch's own
ways to describe a tensor are understood, and they too give a description, not a tensor.
The opcodes are those of Python's `pickletools`.
"""

import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from model.importing.errors import ImportRefusedError
from model.importing.pickle_values import (
    LONGEST_NUMBER_BYTES,
    Made,
    Name,
    as_integer,
    as_key,
    as_text,
    named,
)

MOST_OPCODES = 4_000_000
MOST_BYTES = 64 * 1024 * 1024
LONGEST_LINE_BYTES = 4096


Persistent = Callable[[object], object]
Rebuild = Callable[[tuple[Any, ...]], object]


class _Mark:
    """Where a group of values starts on the stack."""


_MARK = _Mark()
_TRUTHS = {"00": False, "01": True}
"""How protocol 0 writes them."""


class PickleReader:
    """One pickle of a stream; it ends where the pickle ends.

    Args:
        stream: at the start of the pickle.
        rebuild: what to make of calls of some names; of all others an inert `Made`.
        persistent: what to make of a persistent id.
    """

    def __init__(
        self, stream: BinaryIO, *, rebuild: dict[Name, Rebuild], persistent: Persistent
    ) -> None:
        self._stream = stream
        self._rebuild = rebuild
        self._persistent = persistent
        self._bytes_left = MOST_BYTES
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps = {
            **self._values(),
            **self._texts(),
            **self._containers(),
            **self._references(),
            **self._objects(),
        }

    def read(self) -> Any:
        """Return the object that the pickle describes.

        Raises:
            ImportRefusedError: it is damaged, too large, or uses what files of weights do not.
        """
        for _ in range(MOST_OPCODES):
            opcode = self._take(1)
            if opcode == b".":
                return self._pop()
            step = self._steps.get(opcode)
            if step is None:
                raise ImportRefusedError(
                    f"the pickle in it uses the opcode {opcode!r}, which files of weights do not "
                    "use; it is damaged or was not written by torch.save"
                )
            step()
        raise ImportRefusedError(f"the pickle in it has more than {MOST_OPCODES} steps")

    def _values(self) -> dict[bytes, Callable[[], None]]:
        return {
            b"\x80": self._protocol,
            b"\x95": self._frame,
            b"N": lambda: self._push(None),
            b"\x88": lambda: self._push(value=True),
            b"\x89": lambda: self._push(value=False),
            b"I": self._decimal,
            b"L": self._decimal,
            b"J": lambda: self._push(self._size("<i")),
            b"K": lambda: self._push(self._size("<B")),
            b"M": lambda: self._push(self._size("<H")),
            b"\x8a": lambda: self._number(self._size("<B")),
            b"\x8b": lambda: self._number(self._size("<i")),
            b"F": self._float_line,
            b"G": lambda: self._push(struct.unpack(">d", self._take(8))[0]),
        }

    def _texts(self) -> dict[bytes, Callable[[], None]]:
        def text(form: str) -> Callable[[], None]:
            return lambda: self._push(as_text(self._take(self._size(form))))

        def raw(form: str) -> Callable[[], None]:
            return lambda: self._push(self._take(self._size(form)))

        return {
            b"V": lambda: self._push(self._line()),
            b"X": text("<I"),
            b"\x8c": text("<B"),
            b"\x8d": text("<Q"),
            b"T": text("<I"),  # strings of Python 2
            b"U": text("<B"),
            b"B": raw("<I"),
            b"C": raw("<B"),
            b"\x8e": raw("<Q"),
            b"\x96": raw("<Q"),
        }

    def _containers(self) -> dict[bytes, Callable[[], None]]:
        return {
            b"(": lambda: self._push(_MARK),
            b")": lambda: self._push(()),
            b"\x85": lambda: self._tuple(1),
            b"\x86": lambda: self._tuple(2),
            b"\x87": lambda: self._tuple(3),
            b"t": lambda: self._push(tuple(self._pop_group())),
            b"]": lambda: self._push([]),
            b"l": lambda: self._push(self._pop_group()),
            b"a": lambda: self._append([self._pop()]),
            b"e": lambda: self._append(self._pop_group()),
            b"}": lambda: self._push({}),
            b"d": self._dict_of_group,
            b"s": self._set_item,
            b"u": lambda: self._set_items(self._pop_group()),
            b"\x8f": lambda: self._push(set()),
            b"\x90": lambda: self._append(self._pop_group()),
            b"\x91": lambda: self._push({as_key(value) for value in self._pop_group()}),
        }

    def _references(self) -> dict[bytes, Callable[[], None]]:
        return {
            b"0": self._drop,
            b"1": self._drop_group,
            b"2": lambda: self._push(self._top()),
            b"p": lambda: self._remember(as_integer(self._line())),
            b"q": lambda: self._remember(self._size("<B")),
            b"r": lambda: self._remember(self._size("<I")),
            b"\x94": lambda: self._remember(len(self._memo)),
            b"g": lambda: self._recall(as_integer(self._line())),
            b"h": lambda: self._recall(self._size("<B")),
            b"j": lambda: self._recall(self._size("<I")),
        }

    def _objects(self) -> dict[bytes, Callable[[], None]]:
        return {
            b"c": self._name,
            b"\x93": self._name_from_stack,
            b"R": self._reduce,
            b"\x81": self._reduce,
            b"\x92": self._new_with_keywords,
            b"i": self._instance,
            b"o": self._object,
            b"b": self._build,
            b"P": lambda: self._push(self._persistent(self._line())),
            b"Q": lambda: self._push(self._persistent(self._pop())),
        }

    def _take(self, count: int) -> bytes:
        if count > self._bytes_left:
            raise ImportRefusedError(f"the pickle in it is larger than {MOST_BYTES} bytes")
        self._bytes_left -= count
        taken = self._stream.read(count)
        if len(taken) < count:
            raise ImportRefusedError("the pickle in it ends too early: the file is truncated")
        return taken

    def _line(self) -> str:
        line = self._stream.readline(LONGEST_LINE_BYTES)
        self._bytes_left -= len(line)
        if not line.endswith(b"\n"):
            raise ImportRefusedError("the pickle in it is damaged: a name does not end")
        return as_text(line[:-1])

    def _size(self, form: str) -> int:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return int(value)

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise ImportRefusedError("the pickle in it is damaged: a value is missing")
        return self._stack.pop()

    def _top(self) -> Any:
        top = self._pop()
        self._stack.append(top)
        return top

    def _pop_group(self) -> list[Any]:
        """Return what lies above the last mark, and drop the mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                group = self._stack[place + 1 :]
                del self._stack[place:]
                return group
        raise ImportRefusedError("the pickle in it is damaged: a group has no start")

    def _remember(self, place: int) -> None:
        self._memo[place] = self._top()

    def _recall(self, place: int) -> None:
        if place not in self._memo:
            raise ImportRefusedError("the pickle in it is damaged: it names a value it never made")
        self._push(self._memo[place])

    def _number(self, size: int) -> None:
        if size < 0 or size > LONGEST_NUMBER_BYTES:
            raise ImportRefusedError(f"the pickle in it holds a number of {size} bytes")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _decimal(self) -> None:
        line = self._line()
        try:
            self._push(
                {"00": False, "01": True}[line] if line in ("00", "01") else as_integer(line)
            )
        except ValueError:
            raise ImportRefusedError("the pickle in it is damaged: a number is none") from None

    def _float_line(self) -> None:
        try:
            self._push(float(self._line()))
        except ValueError:
            raise ImportRefusedError("the pickle in it is damaged: a number is none") from None

    def _append(self, values: list[Any]) -> None:
        top = self._top()
        if isinstance(top, list | set):
            if isinstance(top, set):
                top.update(as_key(value) for value in values)
            else:
                top.extend(values)
        elif not isinstance(top, Made):
            raise ImportRefusedError("the pickle in it is damaged: it appends to no list")

    def _set_items(self, flat: list[Any]) -> None:
        top = self._top()
        target = top.items if isinstance(top, Made) else top
        if not isinstance(target, dict) or len(flat) % 2:
            raise ImportRefusedError("the pickle in it is damaged: it sets items of no mapping")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            target[as_key(key)] = value

    def _dict_of_group(self) -> None:
        flat = self._pop_group()
        self._push({})
        self._set_items(flat)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _name(self) -> None:
        self._push(named(self._line(), self._line()))

    def _name_from_stack(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ImportRefusedError("the pickle in it is damaged: a name is no text")
        self._push(named(module, name))

    def _call(self, function: object, arguments: object) -> None:
        if not isinstance(function, Name):
            raise ImportRefusedError(
                "it calls what is no name, as files that hide code do; do not trust this file"
            )
        rebuild = self._rebuild.get(function)
        if rebuild is None:
            self._push(Made(function, arguments))
        elif isinstance(arguments, tuple):
            self._push(rebuild(arguments))
        else:
            raise ImportRefusedError(f"the pickle in it is damaged: {function} has no arguments")

    def _reduce(self) -> None:
        arguments = self._pop()
        self._call(self._pop(), arguments)

    def _new_with_keywords(self) -> None:
        self._pop()
        self._reduce()

    def _instance(self) -> None:
        arguments = tuple(self._pop_group())
        self._push(Made(named(self._line(), self._line()), arguments))

    def _object(self) -> None:
        group = self._pop_group()
        self._push(Made(group[0] if group else None, tuple(group[1:])))

    def _build(self) -> None:
        """Keep the state of what would have been restored; of dicts and tensors none is needed."""
        state = self._pop()
        top = self._top()
        if isinstance(top, Made):
            top.state = state

    def _tuple(self, count: int) -> None:
        self._push(tuple(reversed([self._pop() for _ in range(count)])))

    def _drop(self) -> None:
        if not self._stack:
            raise ImportRefusedError("the pickle in it is damaged: a value is missing")
        self._stack.pop()

    def _frame(self) -> None:
        """Frames only tell how much to read ahead."""
        self._take(8)

    def _drop_group(self) -> None:
        self._pop_group()

    def _protocol(self) -> None:
        protocol = self._take(1)[0]
        if protocol > 5:  # noqa: PLR2004 (the newest there is)
            raise ImportRefusedError(f"the pickle in it is of protocol {protocol}: unknown")
