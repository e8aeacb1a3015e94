"""Why a video is found where it is, or is not found: codes for programs, sentences for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.catalog.index_queries import SEARCHABLE, VideoFilter
from service.catalog.tables import VideoState
from service.catalog.video_queries import VideoRecord


class Reason(StrEnum):
    """Why; part of the API."""

    QUEUED = "queued"
    PROCESSING = "processing"
    FAILED = "failed"
    PARTIAL = "partial"
    NO_SEGMENTS = "no_segments"
    NOT_IN_GENERATION = "not_in_generation"
    INDEX_BEHIND = "index_behind"
    NO_SEGMENT_THERE = "no_segment_there"
    FILTERED_OUT = "filtered_out"
    BELOW_CANDIDATES = "below_candidates"
    NOT_RERANKED = "not_reranked"
    RERANKED_UP = "reranked_up"
    RERANKED_DOWN = "reranked_down"
    NO_CONFIDENT_MATCH = "no_confident_match"
    JOINED = "joined"
    GROUPED = "grouped"
    FOUND = "found"


@dataclass(frozen=True)
class Because:
    """One reason.

    Attributes:
        reason: its code.
        sentence: the same for a person, with the figures.
    """

    reason: Reason
    sentence: str


@dataclass(frozen=True)
class FilterCheck:
    """Whether a video passes one condition of the filter, named as in a search."""

    name: str
    passes: bool


def check_filter(record: VideoRecord, wanted: VideoFilter) -> list[FilterCheck]:
    """Check a video against each condition that a filter has."""
    video, length_s = record.video, record.video.duration_s
    checks: list[FilterCheck] = []

    def check(name: str, *, passes: bool) -> None:
        checks.append(FilterCheck(name, passes))

    if wanted.tags is not None:
        check("tags", passes=set(wanted.tags) <= set(record.tags))
    if wanted.video_ids is not None:
        check("video_ids", passes=video.id in set(wanted.video_ids))
    if wanted.created_after is not None:
        check("created_after", passes=video.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        check("created_before", passes=video.created_at < wanted.created_before)
    if (least_s := wanted.min_duration_s) is not None:
        check("min_duration_s", passes=length_s is not None and length_s >= least_s)
    if (most_s := wanted.max_duration_s) is not None:
        check("max_duration_s", passes=length_s is not None and length_s <= most_s)
    return checks


def of_state(record: VideoRecord) -> Iterator[Because]:
    """Say what the processing of a video has to do with it."""
    video = record.video
    match video.state:
        case VideoState.QUEUED:
            yield Because(Reason.QUEUED, "The video waits to be processed.")
        case VideoState.PROCESSING:
            yield Because(
                Reason.PROCESSING, f"The video is being processed ({record.percent:.0f} %)."
            )
        case VideoState.FAILED:
            told = video.detail or f"The reason is {video.reason}."
            yield Because(Reason.FAILED, f"The video could not be processed. {told}")
        case VideoState.PARTIAL:
            told = video.detail or "The rest is searchable."
            yield Because(Reason.PARTIAL, f"Only part of the video could be decoded. {told}")


def of_absence(record: VideoRecord, *, is_embedded: bool, model: str) -> Iterator[Because]:
    """Say why the index that was searched has nothing of a video that was processed."""
    video = record.video
    if video.state not in SEARCHABLE:
        return
    if not video.num_segments:
        yield Because(Reason.NO_SEGMENTS, "The video has no segment that could be searched.")
    elif is_embedded:
        sentence = "The video was embedded, but the index here has not got it yet; try again."
        yield Because(Reason.INDEX_BEHIND, sentence)
    else:
        sentence = f"The video was not embedded yet with the model that is searched, {model}."
        yield Because(Reason.NOT_IN_GENERATION, sentence)


def of_filter(checks: Sequence[FilterCheck]) -> Iterator[Because]:
    """Say which conditions leave a video out."""
    failed = ", ".join(check.name for check in checks if not check.passes)
    if failed:
        yield Because(Reason.FILTERED_OUT, f"The filter leaves the video out: {failed}.")
