"""Why is this video missing? The story of an explanation: a search, looked at from one video."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.catalog.generation_queries import generation_bundle
from service.catalog.replica_queries import is_embedded
from service.catalog.session import Sessions
from service.catalog.video_queries import VideoRecord, find_video
from service.encoder import Encoder
from service.errors import NotFoundError
from service.footage import frame_times
from service.index.replica import IndexReplica
from service.index.serving import Serving
from service.search import reasons
from service.search.clips import ClipStore, clip_key
from service.search.moments import Candidate
from service.search.ranking import live_candidates, with_match
from service.search.reasons import Because, FilterCheck, Reason
from service.search.request import Plan, Receipt, SearchRequest, make_plan
from service.search.standing import Standing, list_all, stand
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class FrameMatch:
    """How similar one frame is to the query.

    Attributes:
        position: of the frame in its clip, from 0.
        time_s: where it was sampled, seconds from the start of the video.
        similarity: of the query with the frame alone, see `Encoder.frame_similarities`.
    """

    position: int
    time_s: float
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where a video stands in a search, and why.

    Attributes:
        record: the video.
        model_name: what was searched with.
        is_indexed: whether the index that was searched has the video.
        because: the reasons, in the order in which a search comes to them.
        best: the segment that answers best, as far as it was asked for; None if there is none.
        standing: where that segment stands; None if there is none.
        frames: of that segment; empty where its stored clip is not there or does not fit.
        filters: every condition of the filter.
        receipt: what was searched.
    """

    record: VideoRecord
    model_name: str
    is_indexed: bool
    because: Sequence[Because]
    best: Candidate | None
    standing: Standing | None
    frames: Sequence[FrameMatch]
    filters: Sequence[FilterCheck]
    receipt: Receipt

    @property
    def why(self) -> str:
        """All reasons as sentences."""
        return " ".join(one.sentence for one in self.because)


def explain(
    request: SearchRequest,
    *,
    video_id: UUID,
    start_s: float | None = None,
    replica: IndexReplica,
    reads: Sessions,
    clips: ClipStore,
    settings: Settings,
) -> Explanation:
    """Run a search and say where a video stands in it.

    Args:
        request: the search.
        video_id: the video that is asked about.
        start_s: only its segment at this second; if None, the one most similar to the text.
        replica: gives the index and its encoder.
        reads: transactions that only read.
        clips: stored clips.
        settings: what the request leaves open.

    Raises:
        NotFoundError: there is no such video, or it was deleted.
        InvalidInputError: the text cannot be searched for.
        UnavailableError: the index is not ready, or too many searches wait.
    """
    plan = make_plan(request, settings)
    serving = replica.serving()
    query = serving.encoder.embed_text(plan.text)
    told = _read(video_id, serving, reads)
    own = _segments_of(told.record, query, serving, reads)
    asked = [one for one in own if _is_at(one, start_s)]
    listing = list_all(plan, query, serving=serving, reads=reads, clips=clips)
    best, standing = None, None
    if asked:
        found = listing.find(asked[0]) or asked[0]
        best = _matched(found, plan, serving.encoder, clips)
        standing = stand(found, listing, query, serving)
    filters = reasons.check_filter(told.record, plan.filter)
    view = serving.view
    return Explanation(
        record=told.record,
        model_name=told.model_name,
        is_indexed=bool(own),
        because=list(_because(told, own, standing, filters)),
        best=best,
        standing=standing,
        frames=_frames(best, query, serving.encoder, clips) if best else (),
        filters=filters,
        receipt=Receipt(
            model_version_id=view.model_version_id,
            generation_id=view.generation_id,
            epoch=view.epoch,
            seq=view.seq,
            candidates=len(listing.candidates),
            reranked=sum(one.log_odds is not None for one in listing.candidates),
        ),
    )


@dataclass(frozen=True)
class _Told:
    """What SQL says of a video and of the generation that was searched."""

    record: VideoRecord
    model_name: str
    is_embedded: bool


def _read(video_id: UUID, serving: Serving, reads: Sessions) -> _Told:
    generation_id = serving.view.generation_id
    with reads() as session:
        record = find_video(session, video_id)
        if record is None:
            raise NotFoundError(f"There is no video {video_id}.")
        return _Told(
            record=record,
            model_name=generation_bundle(session, generation_id).name,
            is_embedded=is_embedded(session, generation_id, video_id),
        )


def _segments_of(
    record: VideoRecord, query: NDArray[np.float32], serving: Serving, reads: Sessions
) -> list[Candidate]:
    """Return the segments of a video that can be found, most similar first."""
    view, count = serving.view, max(1, record.video.num_segments)
    return live_candidates(view.search(query, count, {record.video.id}), reads, view.generation_id)


def _is_at(candidate: Candidate, start_s: float | None) -> bool:
    segment = candidate.segment
    return start_s is None or segment.start_s <= start_s < segment.end_s


def _matched(candidate: Candidate, plan: Plan, encoder: Encoder, clips: ClipStore) -> Candidate:
    """Match a segment that was not re-ranked, to say what would have come of it."""
    clip = clips.read(candidate.segment)
    is_done = candidate.log_odds is not None or not encoder.spec.has_matcher
    if is_done or not encoder.can_match(clip):
        return candidate
    deadline = time.monotonic() + plan.deadline_s
    (log_odds,) = encoder.match(plan.text, [(clip_key(candidate.segment), clip)], deadline)
    return with_match(candidate, log_odds, encoder)


def _because(
    told: _Told,
    own: Sequence[Candidate],
    standing: Standing | None,
    filters: Sequence[FilterCheck],
) -> Iterator[Because]:
    """Give the reasons in the order in which a search comes to them."""
    yield from reasons.of_state(told.record)
    if not own:
        yield from reasons.of_absence(
            told.record, is_embedded=told.is_embedded, model=told.model_name
        )
    elif standing is None:
        yield Because(Reason.NO_SEGMENT_THERE, "No segment of the video is at that second.")
    left_out = list(reasons.of_filter(filters))
    yield from left_out
    if standing is not None and not left_out:
        yield from standing.because


def _frames(
    best: Candidate, query: NDArray[np.float32], encoder: Encoder, clips: ClipStore
) -> list[FrameMatch]:
    segment, clip = best.segment, clips.read(best.segment)
    if not encoder.can_match(clip):
        return []
    similarities = encoder.frame_similarities(query, clip)
    times = frame_times(segment.start_s, segment.end_s, len(similarities))
    return [
        FrameMatch(position=position, time_s=time_s, similarity=similarity)
        for position, (time_s, similarity) in enumerate(zip(times, similarities, strict=True))
    ]
