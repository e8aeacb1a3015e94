"""Cursors of search: pages that do not shift while videos come and go.

A cursor fixes the list by the change number that the first page saw: later videos are left out.
It carries what was shown, so that a delete, or a re-ranking that got further this time, can
neither repeat a segment nor skip one.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from service.cursors import decode_cursor, encode_cursor
from service.errors import BadRequestError, ConflictError
from service.index.faiss_index import Hit
from service.index.vector_index import VectorIndex
from service.search.moments import Candidate
from service.search.request import Plan, Receipt

KIND = "search"


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where a page begins.

    Attributes:
        generation_id: the index that the list is of.
        epoch: history that `seq` counts in.
        seq: last change that the list contains.
        digest: of the request.
        num_shown: moments on the pages before.
        shown: ordinals shown of each slot, by its change number; a slot without ordinals is a
            video of which nothing more is shown.
    """

    generation_id: UUID
    epoch: str
    seq: int
    digest: str
    num_shown: int = 0
    shown: Mapping[int, frozenset[int]] = field(default_factory=dict)

    @classmethod
    def first(cls, view: VectorIndex, plan: Plan) -> "Page":
        """Return the first page of a list."""
        return cls(
            generation_id=view.generation_id, epoch=view.epoch, seq=view.seq, digest=plan.digest
        )

    @classmethod
    def replay(cls, receipt: Receipt, plan: Plan) -> "Page":
        """Return the first page of a list as it was when it was first shown."""
        return cls(
            generation_id=receipt.generation_id,
            epoch=receipt.epoch,
            seq=receipt.seq,
            digest=plan.digest,
        )

    def has_shown(self, hit: Hit) -> bool:
        """Tell whether a segment, or all of its video, is done with."""
        ordinals = self.shown.get(hit.seq)
        return ordinals is not None and (not ordinals or hit.ordinal in ordinals)

    def after(self, moments: Sequence[Sequence[Candidate]], plan: Plan) -> "Page":
        """Return the page after one that shows some moments."""
        shown = dict(self.shown)
        for moment in moments:
            for one in moment:
                before = shown.get(one.hit.seq, frozenset())
                is_done = plan.group_by == "video"
                shown[one.hit.seq] = frozenset() if is_done else before | {one.hit.ordinal}
        return Page(
            generation_id=self.generation_id,
            epoch=self.epoch,
            seq=self.seq,
            digest=self.digest,
            num_shown=self.num_shown + len(moments),
            shown=shown,
        )

    def is_of(self, other: "Page") -> bool:
        """Tell whether two pages are of one list."""
        mine = (self.generation_id, self.epoch, self.seq, self.digest)
        return mine == (other.generation_id, other.epoch, other.seq, other.digest)

    def check(self, view: VectorIndex) -> None:
        """Refuse to go on in another list.

        Raises:
            ConflictError: the database was restored since the first page.
        """
        if (self.generation_id, self.epoch) != (view.generation_id, view.epoch):
            raise ConflictError(
                "This is of another history, before a restore of the database; search again.",
                reason="other_history",
            )


def encode(page: Page, secret: bytes) -> str:
    """Make the cursor of a page."""
    position = [
        page.generation_id.hex,
        page.epoch,
        page.seq,
        page.digest,
        page.num_shown,
        base64.b85encode(_pack(page.shown)).decode(),
    ]
    return encode_cursor(secret, KIND, position)


def decode(cursor: str, plan: Plan, secret: bytes) -> Page:
    """Read a cursor.

    Raises:
        BadRequestError: it is not ours, was altered, or belongs to another request.
    """
    generation_id, epoch, seq, digest, num_shown, shown = decode_cursor(secret, KIND, cursor)
    if digest != plan.digest:
        raise BadRequestError(
            "The cursor belongs to another search; send it with the same text and filters.",
            reason="bad_cursor",
        )
    return Page(
        generation_id=UUID(hex=generation_id),
        epoch=epoch,
        seq=seq,
        digest=digest,
        num_shown=num_shown,
        shown=_unpack(base64.b85decode(shown)),
    )


def _pack(shown: Mapping[int, frozenset[int]]) -> bytes:
    """Pack numbers as differences, seven bits a byte (LEB128): about four bytes a segment."""
    numbers: list[int] = []
    last_seq = 0
    for seq in sorted(shown):
        ordinals = sorted(shown[seq])
        numbers += [seq - last_seq, len(ordinals)]
        numbers += [b - a for a, b in zip([0, *ordinals], ordinals, strict=False)]
        last_seq = seq
    return b"".join(_varint(number) for number in numbers)


def _unpack(packed: bytes) -> dict[int, frozenset[int]]:
    numbers = _numbers(packed)
    shown: dict[int, frozenset[int]] = {}
    seq = 0
    for step in numbers:
        seq += step
        ordinal, ordinals = 0, []
        for _ in range(next(numbers)):
            ordinal += next(numbers)
            ordinals.append(ordinal)
        shown[seq] = frozenset(ordinals)
    return shown


def _varint(number: int) -> bytes:
    packed = bytearray()
    while number >= 0x80:  # noqa: PLR2004 (seven bits a byte; the eighth: more follow)
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004
            yield number
            number = shift = 0
