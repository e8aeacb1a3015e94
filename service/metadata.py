"""What users say about a video: title, tags and free fields, checked once, here."""

import json
import math
import unicodedata
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from service.errors import InvalidInputError

MAX_TITLE = 300
MAX_TAGS, MAX_TAG = 50, 100
MAX_FIELDS, MAX_FIELD_NAME = 64, 100
MAX_FIELDS_BYTES = 16 * 1024
MAX_DEPTH = 5
MAX_FILE_NAME = 255
FORBIDDEN = {"Cc", "Cs"}  # control characters and halves of surrogate pairs
MISLEADING = FORBIDDEN | {"Cf", "Zl", "Zp"}  # also marks that turn the direction of writing


@dataclass(frozen=True, kw_only=True)
class UploadMetadata:
    """What the sender of a video says about it.

    Attributes:
        title: shown for it; None: the name of the file.
        tags: searches can be limited to videos with a tag.
        fields: anything else, kept and given back.
    """

    title: str | None = None
    tags: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)


def parse_metadata(text: str | None) -> UploadMetadata:
    """Read the JSON object that comes with an upload; None and nothing mean no metadata.

    Raises:
        InvalidInputError: it is no such object, or a value is not allowed.
    """
    if text is None or not text.strip():
        return UploadMetadata()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("The metadata is not JSON.") from error
    if not isinstance(said, dict):
        raise InvalidInputError("The metadata must be a JSON object.")
    unknown = sorted(set(said) - {"title", "tags", "fields"})
    if unknown:
        raise InvalidInputError(
            f"The metadata has title, tags and fields, but no {unknown[0][:50]!r}. "
            "Put your own values into fields."
        )
    title, tags, fields = (said.get(name) for name in ("title", "tags", "fields"))
    return UploadMetadata(
        title=None if title is None else check_title(title),
        tags=() if tags is None else check_tags(tags),
        fields={} if fields is None else check_fields(fields),
    )


def check_title(title: Any) -> str:
    """Return the title without blanks around it.

    Raises:
        InvalidInputError: it is empty, too long, or no plain text.
    """
    return _checked_text(title, "title", MAX_TITLE)


def check_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags without blanks around them and without repetitions, in their order.

    Raises:
        InvalidInputError: one is empty, too long, or no plain text, or there are too many.
    """
    if not isinstance(tags, list | tuple):
        raise InvalidInputError("The tags must be a list of texts.")
    checked = tuple(dict.fromkeys(_checked_text(tag, "tag", MAX_TAG) for tag in tags))
    if len(checked) > MAX_TAGS:
        raise InvalidInputError(f"A video has at most {MAX_TAGS} tags.")
    return checked


def check_fields(fields: Any) -> dict[str, Any]:
    """Return the free fields.

    Raises:
        InvalidInputError: they are no JSON object, too large, or hold what JSON cannot.
    """
    if not isinstance(fields, dict):
        raise InvalidInputError("The fields must be a JSON object.")
    if len(fields) > MAX_FIELDS:
        raise InvalidInputError(f"A video has at most {MAX_FIELDS} fields.")
    for name in fields:
        _checked_text(name, "name of a field", MAX_FIELD_NAME)
    _check_value(fields, depth=0)
    if len(json.dumps(fields).encode()) > MAX_FIELDS_BYTES:
        raise InvalidInputError(f"The fields take more than {MAX_FIELDS_BYTES} bytes.")
    return fields


def clean_file_name(name: str | None) -> str:
    """Return a file name that can be shown: no folders, no marks that mislead the reader.

    It is only ever shown; no file of ours is named by it.
    """
    base = PurePosixPath((name or "").replace("\\", "/")).name
    shown = "".join(c for c in base if unicodedata.category(c) not in MISLEADING)
    shown = shown.strip()[:MAX_FILE_NAME].strip()
    return shown if shown.strip(".") else "video"


def title_of(file_name: str) -> str:
    """Return the title of a video of which only the file name is known."""
    return PurePosixPath(file_name).stem[:MAX_TITLE].strip() or "video"


def _checked_text(value: Any, what: str, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"A {what} must be a text.")
    text = value.strip()
    if not text or len(text) > limit:
        raise InvalidInputError(f"A {what} has 1 to {limit} characters; this has {len(text)}.")
    _refuse_unprintable(text, what)
    return text


def _refuse_unprintable(text: str, what: str) -> None:
    if any(unicodedata.category(c) in FORBIDDEN for c in text):
        raise InvalidInputError(f"A {what} must not hold control characters.")


def _check_value(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInputError(f"The fields are nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError("The fields hold a number that is not finite.")
    if isinstance(value, str) and any(c == "\0" or unicodedata.category(c) == "Cs" for c in value):
        raise InvalidInputError("The fields hold a text that is not valid Unicode.")
    parts = value.items() if isinstance(value, dict) else ()
    for name, part in parts:
        _check_value(name, depth=depth + 1)
        _check_value(part, depth=depth + 1)
    for part in value if isinstance(value, list) else ():
        _check_value(part, depth=depth + 1)
