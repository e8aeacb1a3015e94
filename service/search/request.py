"""What a search is asked, what it decides to do, and what it answers."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from service.catalog.index_queries import VideoFilter
from service.errors import InvalidInputError
from service.search.moments import Confidence, Moment
from service.settings import Settings

MAX_TEXT_CHARS = 500
UNPRINTABLE = {"Cc", "Cs"}  # control characters and lone surrogates

GroupBy = Literal["moment", "video"]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What answered.

    Attributes:
        model_version_id: the bundle that embedded the query.
        generation_id: the index that was searched.
        epoch: history of the change log.
        seq: last change that the answer contains; of all pages, that of the first.
        candidates: segments that FAISS found and that are still live.
        reranked: how many of them the fused pass has matched.
    """

    model_version_id: UUID
    generation_id: UUID
    epoch: str
    seq: int
    candidates: int
    reranked: int


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What a client asks for; what is None is taken from the settings.

    Attributes:
        text: what happens in the moments that are wanted.
        limit: moments on one page at most.
        candidates: segments that FAISS returns.
        rerank_depth: how many of the best of them the fused pass re-ranks.
        deadline_ms: the answer comes after this time even if re-ranking is not done.
        group_by: `video` gives only the best moment of each video.
        filter: which videos may be found.
        cursor: `next_cursor` of the page before.
        min_seq: a change that must be searchable, to read one's own writes.
        include_unsure: show the closest moments even if none is a confident match.
        receipt: of an earlier answer: search what it searched, as it was then.
    """

    text: str
    limit: int = 10
    candidates: int | None = None
    rerank_depth: int | None = None
    deadline_ms: int | None = None
    group_by: GroupBy = "moment"
    filter: VideoFilter = field(default_factory=VideoFilter)
    cursor: str | None = None
    min_seq: int | None = None
    include_unsure: bool = False
    receipt: Receipt | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request that was checked, with nothing left open.

    Attributes:
        text: NFC, stripped.
        digest: names everything that decides which moments are listed in which order.
    """

    text: str
    limit: int
    candidates: int
    rerank_depth: int
    deadline_s: float
    group_by: GroupBy
    filter: VideoFilter
    include_unsure: bool
    digest: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One page of moments, best first.

    Attributes:
        moments: may be fewer than the limit; none if the confidence is `none`, unless the
            request wants the closest ones all the same.
        receipt: what answered.
        next_cursor: for the next page; None if this is the last.
        degraded: re-ranking was not done when the deadline came.
        confidence: see `service.search.moments.confidence_in`.
        timings_ms: time by stage (wait, embed, faiss, sql, clips, match, other), and total.
    """

    moments: Sequence[Moment]
    receipt: Receipt
    next_cursor: str | None
    degraded: bool
    confidence: Confidence
    timings_ms: Mapping[str, float]


def make_plan(request: SearchRequest, settings: Settings) -> Plan:
    """Check a request and fill in what it leaves open.

    Raises:
        InvalidInputError: the text is empty, too long, or has control characters.
    """
    text = normalise(request.text)
    candidates = _first(request.candidates, settings.search_candidates)
    rerank_depth = _first(request.rerank_depth, settings.rerank_depth)
    deadline_ms = _first(request.deadline_ms, settings.search_deadline_ms)
    wanted = replace(request.filter, tags=request.filter.tags or None)
    decisive = (
        text,
        candidates,
        rerank_depth,
        request.group_by,
        request.include_unsure,
        _canonical(wanted),
    )
    return Plan(
        text=text,
        limit=request.limit,
        candidates=max(candidates, request.limit),
        rerank_depth=rerank_depth,
        deadline_s=deadline_ms / 1000,
        group_by=request.group_by,
        filter=wanted,
        include_unsure=request.include_unsure,
        digest=hashlib.sha256(repr(decisive).encode()).hexdigest()[:24],
    )


def normalise(text: str) -> str:
    """Return a text as it is embedded and cached.

    Raises:
        InvalidInputError: it is empty, too long, or has control characters.
    """
    text = unicodedata.normalize("NFC", text.strip())
    if not text:
        raise InvalidInputError("The text is empty; describe what happens in the moment.")
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidInputError(
            f"The text has {len(text)} characters; at most {MAX_TEXT_CHARS} are allowed."
        )
    if any(unicodedata.category(character) in UNPRINTABLE for character in text):
        raise InvalidInputError("The text has control characters or is not valid Unicode.")
    return text


def _canonical(wanted: VideoFilter) -> tuple[object, ...]:
    """Return a filter so that equal filters look equal."""
    return (
        sorted(set(wanted.tags)) if wanted.tags is not None else None,
        sorted(map(str, set(wanted.video_ids))) if wanted.video_ids is not None else None,
        wanted.created_after.timestamp() if wanted.created_after else None,
        wanted.created_before.timestamp() if wanted.created_before else None,
        wanted.min_duration_s,
        wanted.max_duration_s,
    )


def _first(asked: int | None, default: int) -> int:
    return default if asked is None else asked
