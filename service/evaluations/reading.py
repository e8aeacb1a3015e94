"""Read an evaluation set from a file: CSV or JSON Lines."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from service.errors import InvalidInputError
from service.evaluations.sets import MAX_QUERIES, Entry, refuse

FileFormat = Literal["csv", "jsonl"]
COLUMNS = ("text", "video", "start_s", "end_s")
ALIASES = {"video_id": "video", "query": "text"}


def read_entries(content: bytes, file_format: FileFormat) -> list[Entry]:
    """Read the queries of a file.

    Both forms have `text`, `video` (id, file name or title) and, for a moment of it, `start_s` and
    `end_s`: CSV as the names in its first line (RFC 4180), JSON Lines as keys, one object a line.

    Raises:
        InvalidInputError: it is not of that form (`bad_file`), has too many lines
            (`too_many_queries`), or some lines are wrong (`bad_queries`).
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad_file("The file is not UTF-8.") from error
    entries: list[Entry] = []
    mistakes: list[tuple[str, str]] = []
    for number, row in _rows(text, file_format):
        try:
            entries.append(_entry(f"line {number}", row))
        except InvalidInputError as error:
            mistakes.append((f"line {number}", error.detail))
        if len(entries) + len(mistakes) > MAX_QUERIES:
            raise InvalidInputError(
                f"The file has more than {MAX_QUERIES} queries. Split it.",
                reason="too_many_queries",
            )
    if mistakes:
        raise refuse(mistakes, of=len(entries) + len(mistakes))
    return entries


def _rows(text: str, file_format: FileFormat) -> Iterator[tuple[int, Any]]:
    """Yield (number of the line, what it holds)."""
    return _csv_rows(text) if file_format == "csv" else _jsonl_rows(text)


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = [ALIASES.get(name, name) for name in names]
        if not {"text", "video"} <= set(reader.fieldnames):
            raise _bad_file(
                "The first line of the CSV must name its columns: text, video and, for moments, "
                "start_s and end_s."
            )
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise _bad_file(f"Line {reader.line_num} is not CSV: {error}.") from error


def _jsonl_rows(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _bad_file(f"Line {number} is not JSON.") from error
        if isinstance(row, dict):
            row = {ALIASES.get(name, name): value for name, value in row.items()}
        yield number, row


def _entry(place: str, row: Any) -> Entry:
    if not isinstance(row, dict):
        raise InvalidInputError("It is no object with text and video.")
    if None in row:
        raise InvalidInputError("It has more values than there are columns.")
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        known = ", ".join(COLUMNS)
        raise InvalidInputError(f"There is no {unknown[0][:50]!r}; known are {known}.")
    return Entry(
        place=place,
        text=_text(row, "text"),
        video=_text(row, "video"),
        start_s=_seconds(row, "start_s"),
        end_s=_seconds(row, "end_s"),
        is_named=True,
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{name} is missing.")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInputError(f"{name} is not valid Unicode text.")
    return value.strip()


def _seconds(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return float(value) if not isinstance(value, bool) else _no_number(name)
    except (TypeError, ValueError, OverflowError):
        return _no_number(name)


def _no_number(name: str) -> float:
    raise InvalidInputError(f"{name} is no number of seconds.")


def _bad_file(sentence: str) -> InvalidInputError:
    return InvalidInputError(sentence, reason="bad_file")
