"""Collect pairs of text and moment from captions and feedback."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import feedback_queries
from service.catalog.caption_tables import CaptionSource, Feedback, Verdict
from service.catalog.index_queries import VideoFilter, filter_video_ids
from service.catalog.tuning_tables import PairOrigin

Subject = tuple[UUID, str, float | None, float | None]
"""Video, text in small letters, and span: there is one pair for each."""


class PairSource(StrEnum):
    """Where a pair may come from."""

    TYPED = "typed"
    IMPORTED = "imported"
    FEEDBACK = "feedback"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A text and the moment that it does, or does not, describe.

    Attributes:
        origin: what it was made from.
        origin_id: the caption or feedback.
        video_id: the video.
        sha256: digest of its content.
        text: what is said.
        start_s: where the moment begins, seconds; None: the whole video.
        end_s: where it ends, exclusive.
        is_negative: the text does not describe the moment.
    """

    origin: PairOrigin
    origin_id: UUID
    video_id: UUID
    sha256: str
    text: str
    start_s: float | None
    end_s: float | None
    is_negative: bool = False

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return self.video_id, self.text.casefold(), self.start_s, self.end_s


@dataclass(frozen=True, kw_only=True)
class PairFilter:
    """Which pairs are wanted; what is None does not matter.

    Attributes:
        video_ids: of these videos.
        tags: of videos with all of these tags.
        sources: from these.
    """

    video_ids: Collection[UUID] | None = None
    tags: Collection[str] | None = None
    sources: Collection[PairSource] | None = None


def collect_pairs(session: Session, wanted: PairFilter, *, holds: bool = False) -> list[Pair]:
    """Return the pairs of all searchable videos, captions first, each oldest first.

    One text is said of one moment once: a caption outweighs feedback, newer feedback older.

    Args:
        session: any session; one that writes if `holds`.
        wanted: which pairs.
        holds: captions and feedback stay until the transaction ends; whoever stores pairs needs
            this, or one could outlive what it was made from.
    """
    contents = feedback_queries.searchable_contents(session)
    if wanted.video_ids is not None or wanted.tags:
        chosen = VideoFilter(video_ids=wanted.video_ids, tags=wanted.tags or None)
        contents = {id_: contents[id_] for id_ in filter_video_ids(session, chosen) & {*contents}}
    sources = set(PairSource) if wanted.sources is None else set(wanted.sources)
    stated: dict[Subject, Pair] = {}
    for pair in _from_captions(session, contents, sources, holds=holds):
        stated.setdefault(pair.subject, pair)
    judged: dict[Subject, Pair] = {}
    if PairSource.FEEDBACK in sources:
        for feedback in feedback_queries.all_feedback(session, holds=holds):
            for pair in _from_feedback(feedback, contents):
                judged.pop(pair.subject, None)  # the newest stands last
                judged[pair.subject] = pair
    return [*stated.values(), *(p for subject, p in judged.items() if subject not in stated)]


def _from_captions(
    session: Session, contents: Mapping[UUID, str], sources: set[PairSource], *, holds: bool
) -> Iterator[Pair]:
    kinds = [CaptionSource(source) for source in sources - {PairSource.FEEDBACK}]
    for caption in feedback_queries.all_captions(session, sources=kinds, holds=holds):
        if caption.video_id in contents:
            yield Pair(
                origin=PairOrigin.CAPTION,
                origin_id=caption.id,
                video_id=caption.video_id,
                sha256=contents[caption.video_id],
                text=caption.text,
                start_s=caption.start_s,
                end_s=caption.end_s,
            )


def _from_feedback(feedback: Feedback, contents: Mapping[UUID, str]) -> Iterator[Pair]:
    """Yield what feedback says of the hit, and of the moment that was meant."""
    hit = (feedback.video_id, feedback.start_s, feedback.end_s)
    said = [(hit, feedback.verdict is not Verdict.RIGHT)]
    if feedback.instead_video_id is not None:
        other = (feedback.instead_video_id, feedback.instead_start_s, feedback.instead_end_s)
        said.append((other, False))
    for (video_id, start_s, end_s), is_negative in said:
        if video_id in contents:
            yield Pair(
                origin=PairOrigin.FEEDBACK,
                origin_id=feedback.id,
                video_id=video_id,
                sha256=contents[video_id],
                text=feedback.text,
                start_s=start_s,
                end_s=end_s,
                is_negative=is_negative,
            )
