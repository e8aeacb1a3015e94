"""Take in a file of captions, all of it or all that is good, in one transaction."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from service.captions.checking import check_span, check_text
from service.captions.cues import read_cues
from service.captions.lines import BadLineError, CaptionFormat, Record, read_lines
from service.captions.tables import read_csv, read_jsonl
from service.catalog import caption_queries
from service.catalog.caption_tables import CaptionSource
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import utc_now
from service.errors import BadLine, InvalidInputError, InvalidLinesError, NotFoundError

MAX_CAPTIONS = 200_000
MAX_TOLD = 1000
"""How many skipped lines are told one by one."""
BATCH = 1000
MAX_SHOWN = 100
"""Characters of a name that is not known."""


class OnError(StrEnum):
    """What is done if lines of a file are wrong."""

    REFUSE = "refuse"
    """Take nothing."""
    SKIP = "skip"
    """Take the others."""


@dataclass(kw_only=True)
class Imported:
    """What became of a file.

    Attributes:
        num_imported: captions that are new.
        num_unchanged: captions that were there already, word for word.
        num_skipped: lines that are wrong.
        skipped: the first of them.
    """

    num_imported: int = 0
    num_unchanged: int = 0
    num_skipped: int = 0
    skipped: list[BadLine] = field(default_factory=list)
    _last_skipped: int = 0

    def skip(self, line: int, reason: str) -> None:
        """Count a wrong line, once however many captions it holds."""
        if line == self._last_skipped:
            return
        self._last_skipped = line
        self.num_skipped += 1
        if len(self.skipped) < MAX_TOLD:
            self.skipped.append(BadLine(line, reason))


def import_captions(
    sessions: Sessions,
    file: BinaryIO,
    form: CaptionFormat,
    *,
    video_id: UUID | None = None,
    on_error: OnError = OnError.REFUSE,
    created_by: UUID | None = None,
) -> Imported:
    """Add the captions of a file; those that are there already stay one.

    Args:
        sessions: writing sessions.
        file: it can be read from its start, twice.
        form: what it is.
        video_id: all lines are about this video.
        on_error: whether wrong lines keep the others out.
        created_by: the API key that sends it.

    Raises:
        NotFoundError: there is no such video.
        InvalidLinesError: lines are wrong, and are not to be skipped; nothing was added.
        InvalidInputError: the file is not of this form or too large, or no video is named.
    """
    if form.needs_video and video_id is None:
        raise InvalidInputError(
            f"A file of the format {form} is about one video; say which, as video_id.",
            reason="video_id_missing",
        )

    def work(session: Session) -> Imported:
        importing = _Import(session, video_id, created_by)
        newline = "" if form is CaptionFormat.CSV else None
        with closing(read_lines(file, newline=newline)) as lines:
            entries = _read(lines, form, needs_video=video_id is None)
            while batch := list(islice(entries, BATCH)):
                importing.take(batch)
        if importing.done.num_skipped and on_error is OnError.REFUSE:
            raise _refusal(importing.done)
        return importing.done

    return in_transaction(sessions, work)


Entry = Record | tuple[int, str]
"""A caption, or line and reason of what is none."""


def _read(lines: Iterable[str], form: CaptionFormat, *, needs_video: bool) -> Iterator[Entry]:
    match form:
        case CaptionFormat.CSV:
            return read_csv(lines, needs_video=needs_video)
        case CaptionFormat.JSONL:
            return read_jsonl(lines)
        case CaptionFormat.VTT | CaptionFormat.SRT:
            return read_cues(lines, form)


def _refusal(done: Imported) -> InvalidLinesError:
    what = "1 line is" if done.num_skipped == 1 else f"{done.num_skipped} lines are"
    return InvalidLinesError(
        f"{what} wrong, so nothing was imported. Mend the file, or leave them out (on_error=skip; "
        "in the command: --wrong skip).",
        done.skipped,
    )


class _Import:
    """One import in one transaction; it remembers which videos it has seen."""

    def __init__(self, session: Session, video_id: UUID | None, created_by: UUID | None) -> None:
        self.done = Imported()
        self._session = session
        self._video_id = video_id
        self._created_by = created_by
        self._began = utc_now()
        self._called: dict[str, list[UUID]] = {}
        self._lengths: dict[UUID, float | None] = {}
        self._said: set[bytes] = set()
        if video_id is not None:
            self._meet([video_id])
            if video_id not in self._lengths:
                raise NotFoundError(f"There is no video {video_id}.")

    def take(self, batch: Sequence[Entry]) -> None:
        """Add the captions of some lines."""
        records = [entry for entry in batch if isinstance(entry, Record)]
        self._look_up(records)
        rows = []
        for entry in batch:
            try:
                row = self._row(entry)
            except (BadLineError, InvalidInputError) as error:
                self.done.skip(entry.line if isinstance(entry, Record) else entry[0], str(error))
                continue
            if row is not None:
                rows.append(row)
        if self.done.num_imported > MAX_CAPTIONS:
            raise InvalidInputError(
                f"The file has more than {MAX_CAPTIONS} captions. Send it in parts.",
                reason="too_many_captions",
            )
        caption_queries.add_captions(self._session, rows)

    def _look_up(self, records: Sequence[Record]) -> None:
        """Find the videos that these name, as far as they were not met before."""
        names = {name for record in records for name in record.videos}
        new = {name for name in names - self._called.keys() if _is_storable(name)}
        if not new:
            return
        found = caption_queries.videos_called(self._session, new)
        self._called |= found
        self._meet([ids[0] for ids in found.values() if len(ids) == 1])

    def _meet(self, video_ids: Sequence[UUID]) -> None:
        """Lock videos, and read what is said of them already."""
        lengths = caption_queries.lock_lengths(self._session, {*video_ids} - {*self._lengths})
        self._lengths |= lengths
        for said in caption_queries.said_of(self._session, lengths):
            self._said.add(_digest(*said))

    def _row(self, entry: Entry) -> dict[str, Any] | None:
        """Return the columns of a caption; None if it is there already."""
        if not isinstance(entry, Record):
            raise BadLineError(entry[1])
        video_id = self._video_of(entry)
        text = check_text(entry.text)
        span = check_span(entry.start_s, entry.end_s, self._lengths[video_id])
        digest = _digest(video_id, text, *span)
        if digest in self._said:
            self.done.num_unchanged += 1
            return None
        self._said.add(digest)
        self.done.num_imported += 1
        return {
            "id": uuid4(),
            "video_id": video_id,
            "text": text,
            "start_s": span.start_s,
            "end_s": span.end_s,
            "source": CaptionSource.IMPORTED,
            "created_by": self._created_by,
            "created_at": self._time_of(self.done.num_imported),
        }

    def _video_of(self, record: Record) -> UUID:
        """Return the video that a line is about."""
        if not record.videos and self._video_id is not None:
            return self._video_id
        for name in record.videos:
            found = self._called.get(name, [])
            if len(found) > 1:
                raise BadLineError(f"{len(found)} videos are called {name!r}; name one by its id.")
            if found and self._video_id not in {None, found[0]}:
                raise BadLineError(f"{name!r} is another video than the one asked for.")
            if found and found[0] in self._lengths:
                return found[0]
        if not record.videos:
            raise BadLineError("It names no video.")
        raise BadLineError(f"There is no video {record.videos[0][:MAX_SHOWN]!r}.")

    def _time_of(self, number: int) -> datetime:
        """Return a time that keeps the order of the file: one transaction has one time."""
        return self._began + timedelta(microseconds=number)


def _is_storable(name: str) -> bool:
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in name)


def _digest(video_id: UUID, text: str, start_s: float | None, end_s: float | None) -> bytes:
    said = f"{video_id}/{start_s}/{end_s}/{text}"
    return hashlib.blake2b(said.encode(), digest_size=16).digest()
