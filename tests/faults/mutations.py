"""Ways to damage a video file, each drawn at random."""

import random
import struct
from collections.abc import Callable, Sequence

from tests.factories_attacks import HEADER, boxes, replace_box

EVIL = (0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 0x10000)
HEAD_BYTES = 4096

Mutation = Callable[[bytes, Sequence[bytes], random.Random], bytes]
"""(file, other files, where chance comes from) -> another file."""


def flip_bits(content: bytes, _others: Sequence[bytes], draw: random.Random) -> bytes:
    """Flip a few bits, anywhere."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 2, 8, 50, 400))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_head_bits(content: bytes, _others: Sequence[bytes], draw: random.Random) -> bytes:
    """Flip a few bits where headers and indexes are: at the beginning or at the end."""
    changed = bytearray(content)
    reach = min(len(changed), HEAD_BYTES)
    for _ in range(draw.choice((1, 2, 8, 32))):
        at = draw.randrange(reach)
        changed[at if draw.random() < 0.5 else len(changed) - 1 - at] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncate(content: bytes, _others: Sequence[bytes], draw: random.Random) -> bytes:
    """Cut the end off."""
    return content[: draw.randrange(1, len(content))]


def behead(content: bytes, _others: Sequence[bytes], draw: random.Random) -> bytes:
    """Cut the beginning off."""
    return content[draw.randrange(1, len(content)) :]


def splice(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Put a piece of another file into the middle, or in the place of what was there."""
    other = draw.choice(others)
    first, size = draw.randrange(len(other)), draw.randrange(1, 8192)
    at = draw.randrange(len(content))
    keeps = draw.random() < 0.5
    return content[:at] + other[first : first + size] + content[at + (0 if keeps else size) :]


def transplant(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Put the head of one file on the body of another."""
    at = draw.randrange(1, min(len(content), HEAD_BYTES))
    return content[:at] + draw.choice(others)[at:]


def overwrite(content: bytes, _others: Sequence[bytes], draw: random.Random) -> bytes:
    """Write zeros, ones or noise over a stretch."""
    at, size = draw.randrange(len(content)), draw.randrange(1, 4096)
    size = min(size, len(content) - at)
    new = draw.choice((bytes(size), b"\xff" * size, draw.randbytes(size)))
    return content[:at] + new + content[at + size :]


def change_fields(content: bytes, _others: Sequence[bytes], draw: random.Random) -> bytes:
    """Write numbers that programmers forget into headers: 0, -1, the largest one."""
    changed = bytearray(content)
    reach = max(1, min(len(changed), HEAD_BYTES) - 4)
    for _ in range(draw.choice((1, 2, 5))):
        at = draw.randrange(reach)
        at = at if draw.random() < 0.5 else max(0, len(changed) - 4 - at)
        order = draw.choice("<>")
        changed[at : at + 4] = struct.pack(f"{order}I", draw.choice(EVIL))
    return bytes(changed)


def change_box_size(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Let a box of an MP4 file claim another size."""
    found = list(boxes(content))
    if not found:
        return change_fields(content, others, draw)
    box = draw.choice(found)
    size = draw.choice((*EVIL, box.end - box.start + draw.randrange(-64, 64)))
    changed = bytearray(content)
    changed[box.start : box.start + 4] = struct.pack(">I", size & 0xFFFFFFFF)
    return bytes(changed)


def change_box_field(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Write a forgotten number into the body of a box of an MP4 file."""
    found = [box for box in boxes(content) if box.end - box.start >= HEADER.size + 4]
    if not found:
        return change_fields(content, others, draw)
    box = draw.choice(found)
    at = draw.randrange(box.start + HEADER.size, min(box.end - 3, box.start + 256))
    return content[:at] + struct.pack(">I", draw.choice(EVIL)) + content[at + 4 :]


def repeat_box(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Repeat a box of an MP4 file, a few times or many."""
    found = [box for box in boxes(content) if box.kind != b"mdat"]
    if not found:
        return splice(content, others, draw)
    box = draw.choice(found)
    return replace_box(content, box, content[box.start : box.end] * draw.choice((2, 3, 40)))


def drop_box(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Take a box of an MP4 file out."""
    found = list(boxes(content))
    if not found:
        return truncate(content, others, draw)
    return replace_box(content, draw.choice(found), b"")


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_head_bits, truncate, behead, splice, transplant, overwrite),
    *(change_fields, change_box_size, change_box_field, repeat_box, drop_box),
)


def mutate(content: bytes, others: Sequence[bytes], draw: random.Random) -> tuple[bytes, str]:
    """Damage a file in one way, sometimes in two; return it and what was done."""
    names = []
    for _ in range(draw.choice((1, 1, 2))):
        mutation = draw.choice(MUTATIONS)
        content = mutation(content, others, draw) or b"\0"
        names.append(mutation.__name__)
    return content, "+".join(names)
