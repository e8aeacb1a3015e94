"""CSV (RFC 4180) and JSON Lines: captions of many videos, which each line names.

CSV has the columns video, text, start_s, end_s. JSON Lines has objects with the same keys, or those
that `reelseek train` reads: file, caption or captions. A `file` beside `video` is tried where the
video is unknown, so that an export of one installation can be read by another.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from service.captions.lines import BadLineError, Record, check_length
from service.catalog.caption_queries import NamedCaption
from service.errors import InvalidInputError

COLUMNS = ("video", "text", "start_s", "end_s", "file")
VIDEO_KEYS = ("video", "file")
TEXT_KEYS = ("text", "caption")
DELIMITERS = (",", ";", "\t")
"""Spreadsheets of some countries write the others and still call it CSV."""


def read_csv(lines: Iterable[str], *, needs_video: bool) -> Iterator[Record | tuple[int, str]]:
    """Yield the rows of a CSV file, or line and reason of what is no row.

    Args:
        lines: with their ends.
        needs_video: each row must name its video.

    Raises:
        InvalidInputError: there is no header, or it lacks a column.
    """
    remaining = _RowLines(lines)
    header, delimiter = _read_header(next(remaining, ""), needs_video=needs_video)
    reader = csv.reader(remaining, delimiter=delimiter, strict=True)
    while True:
        line = remaining.begin_row()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"It is not CSV: {error}."
            continue
        if not any(value.strip() for value in row):
            continue
        if len(row) > len(header):
            yield line, f"It has {len(row)} values, but the header names {len(header)}."
            continue
        values = dict(zip(header, row, strict=False))
        try:
            yield from _records(
                line, {key: value for key, value in values.items() if value.strip()}
            )
        except BadLineError as error:
            yield line, str(error)


def read_jsonl(lines: Iterable[str]) -> Iterator[Record | tuple[int, str]]:
    """Yield the captions of a JSON Lines file, or line and reason of what is none."""
    for line, content in enumerate(lines, start=1):
        if not content.strip():
            continue
        try:
            yield from _records(line, _read_object(content))
        except BadLineError as error:
            yield line, str(error)


def write_csv(captions: Sequence[NamedCaption]) -> str:
    """Return rows, without a header."""
    file = io.StringIO()
    rows = csv.writer(file)
    for named in captions:
        one = named.caption
        rows.writerow((one.video_id, one.text, one.start_s, one.end_s, named.file_name))
    return file.getvalue()


def write_jsonl(captions: Sequence[NamedCaption]) -> str:
    """Return one object a line; `reelseek train` reads them, too."""
    return "".join(_write_object(one) + "\n" for one in captions)


def csv_header() -> str:
    """Return the first line of a CSV file."""
    return ",".join(COLUMNS) + "\r\n"


class _RowLines(Iterator[str]):
    """Lines with the number of the next; a row may have many, but not be endless."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._number = self._first = 1
        self._num_chars = 0

    def begin_row(self) -> int:
        """Return the line with which the next row begins."""
        self._first, self._num_chars = self._number, 0
        return self._first

    def __next__(self) -> str:
        line = next(self._lines)
        self._number += 1
        self._num_chars += len(line)
        check_length(self._first, self._num_chars)
        return line


def _read_header(line: str, *, needs_video: bool) -> tuple[list[str], str]:
    for delimiter in DELIMITERS:
        names = next(csv.reader([line], delimiter=delimiter), [])
        header = [name.strip().casefold() for name in names]
        has_video = not needs_video or not {*VIDEO_KEYS}.isdisjoint(header)
        if has_video and not {*TEXT_KEYS}.isdisjoint(header):
            return header, delimiter
    raise InvalidInputError(
        f"The first line of a CSV file names its columns: {','.join(COLUMNS[:4])}.",
        reason="no_csv_header",
    )


def _read_object(content: str) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise BadLineError("It is not JSON.") from None
    if not isinstance(found, dict):
        raise BadLineError("It is not a JSON object.")
    return {key: value for key, value in found.items() if value is not None}


def _records(line: int, values: Mapping[str, Any]) -> Iterator[Record]:
    videos = [values[key] for key in VIDEO_KEYS if key in values]
    texts = [values[key] for key in TEXT_KEYS if key in values][:1] or values.get("captions", [])
    if not isinstance(texts, list) or not texts:
        raise BadLineError("It has no text.")
    if not all(isinstance(value, str) for value in (*videos, *texts)):
        raise BadLineError("Videos and texts must be strings.")
    start_s, end_s = (_read_seconds(key, values.get(key)) for key in ("start_s", "end_s"))
    names = tuple(name.strip() for name in videos if name.strip())
    for text in texts:
        yield Record(line=line, videos=names, text=text, start_s=start_s, end_s=end_s)


def _read_seconds(key: str, value: Any) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        return float(value if is_number else "")
    except (ValueError, OverflowError):
        raise BadLineError(f"{key} is not a number of seconds.") from None


def _write_object(named: NamedCaption) -> str:
    one = named.caption
    said: dict[str, Any] = {"video": str(one.video_id), "file": named.file_name}
    said["caption"] = one.text
    if one.start_s is not None:
        said |= {"start_s": one.start_s, "end_s": one.end_s}
    return json.dumps(said, ensure_ascii=False)
