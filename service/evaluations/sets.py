"""Make an evaluation set: check every query, or say what is wrong with them."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import evaluation_queries
from service.catalog.evaluation_queries import NamedVideo, NewQuery, SetRecord
from service.catalog.session import Sessions, in_transaction
from service.errors import InvalidInputError
from service.search.request import normalise

MAX_NAME = 100
MAX_QUERIES = 10_000
TOLERANCE_S = 0.5
"""How far a span may reach past the end of its video: durations of files are not exact."""
MAX_SAID = 5
"""Mistakes that one answer names."""
UNPRINTABLE = {"Cc", "Cs"}  # control characters and lone surrogates


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A query as somebody wrote it.

    Attributes:
        place: where it stands, for the sentence about a mistake: `queries.3`, `line 4`.
        text: what is searched for.
        video: id of the right video; or, as `is_named` allows, its title or file name.
        start_s: start of the right moment, seconds; None with `end_s`: any moment of the video.
        end_s: its end.
        is_named: the video may be given by its title or file name, too.
    """

    place: str
    text: str
    video: str
    start_s: float | None = None
    end_s: float | None = None
    is_named: bool = False


def create_set(
    sessions: Sessions, *, name: str, entries: Sequence[Entry], created_by: UUID | None = None
) -> SetRecord:
    """Keep a list of queries by a name; if there is one by it, this is its next version.

    Raises:
        InvalidInputError: the name cannot be used (`bad_name`), there are no queries (`empty_set`)
            or too many (`too_many_queries`), or some are wrong (`bad_queries`): a text that cannot
            be searched for, an unknown video, a span that is not in it.
    """
    checked_name = _check_name(name)
    if not entries:
        raise InvalidInputError(
            "The set has no queries; give at least one text with the video that is right.",
            reason="empty_set",
        )
    if len(entries) > MAX_QUERIES:
        raise InvalidInputError(
            f"The set has {len(entries)} queries; at most {MAX_QUERIES} are allowed. Split it.",
            reason="too_many_queries",
        )

    def add(session: Session) -> SetRecord:
        queries = _resolve(session, entries)
        made = evaluation_queries.add_set(
            session, name=checked_name, queries=queries, created_by=created_by
        )
        return evaluation_queries.get_set(session, made.id)

    return in_transaction(sessions, add)


def refuse(mistakes: Sequence[tuple[str, str]], *, of: int) -> InvalidInputError:
    """Return the failure that names the first mistakes, each (place, sentence)."""
    said = " ".join(f"{place}: {sentence}" for place, sentence in mistakes[:MAX_SAID])
    more = len(mistakes) - MAX_SAID
    rest = f" And {more} more." if more > 0 else ""
    return InvalidInputError(
        f"{len(mistakes)} of {of} queries cannot be used; nothing was kept. {said}{rest}",
        reason="bad_queries",
    )


def _check_name(name: str) -> str:
    checked = unicodedata.normalize("NFC", name.strip())
    if not 1 <= len(checked) <= MAX_NAME:
        raise InvalidInputError(
            f"The name of a set has 1 to {MAX_NAME} characters; this has {len(checked)}.",
            reason="bad_name",
        )
    if any(unicodedata.category(character) in UNPRINTABLE for character in checked):
        raise InvalidInputError(
            "The name of a set must not hold control characters.", reason="bad_name"
        )
    return checked


def _resolve(session: Session, entries: Sequence[Entry]) -> list[NewQuery]:
    videos = _Videos(session, entries)
    queries: list[NewQuery] = []
    mistakes: list[tuple[str, str]] = []
    for entry in entries:
        try:
            queries.append(_check(entry, videos.find(entry)))
        except InvalidInputError as error:
            mistakes.append((entry.place, error.detail))
    if mistakes:
        raise refuse(mistakes, of=len(entries))
    return queries


def _check(entry: Entry, video: NamedVideo) -> NewQuery:
    start_s, end_s = entry.start_s, entry.end_s
    if (start_s is None) != (end_s is None):
        raise InvalidInputError("Give both start_s and end_s, or neither for the whole video.")
    if start_s is not None and end_s is not None:
        if not (math.isfinite(end_s) and 0 <= start_s < end_s):
            raise InvalidInputError(
                f"The span {start_s:g} to {end_s:g} s is none: 0 <= start_s < end_s must hold."
            )
        if video.duration_s is not None and end_s > video.duration_s + TOLERANCE_S:
            raise InvalidInputError(
                f"The span ends at {end_s:g} s, but the video is {video.duration_s:.2f} s long."
            )
    return NewQuery(text=normalise(entry.text), video_id=video.id, start_s=start_s, end_s=end_s)


class _Videos:
    """The videos that some entries mean, found in a few statements."""

    def __init__(self, session: Session, entries: Sequence[Entry]) -> None:
        ids = {as_id for entry in entries if (as_id := _as_id(entry.video)) is not None}
        names = {entry.video for entry in entries if entry.is_named and _as_id(entry.video) is None}
        self._by_id = {one.id: one for one in evaluation_queries.live_videos(session, ids)}
        called = evaluation_queries.videos_called(session, names)
        self._by_file_name = _grouped((one.file_name, one) for one in called)
        self._by_title = _grouped((one.title, one) for one in called)

    def find(self, entry: Entry) -> NamedVideo:
        """Return the video of an entry.

        Raises:
            InvalidInputError: there is none, or more than one.
        """
        as_id = _as_id(entry.video)
        if as_id is not None and as_id in self._by_id:
            return self._by_id[as_id]
        shown = entry.video[:100]
        names = (self._by_file_name, self._by_title) if entry.is_named else ()
        for by_name in names:
            found = by_name.get(entry.video, [])
            if len(found) > 1:
                raise InvalidInputError(
                    f"{len(found)} videos are called {shown!r}; give the id of the right one."
                )
            if found:
                return found[0]
        raise InvalidInputError(f"There is no video {shown!r}.")


def _grouped(named: Iterable[tuple[str, NamedVideo]]) -> dict[str, list[NamedVideo]]:
    found: dict[str, list[NamedVideo]] = {}
    for name, video in named:
        found.setdefault(name, []).append(video)
    return found


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
