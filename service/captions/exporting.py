"""Give captions out as a file, piece by piece."""

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy.orm import Session

from service.captions.checking import length_of
from service.captions.cues import write_cue
from service.captions.lines import CaptionFormat
from service.captions.tables import csv_header, write_csv, write_jsonl
from service.catalog import caption_queries, video_queries
from service.catalog.caption_queries import NamedCaption
from service.catalog.session import Sessions
from service.errors import ConflictError, InvalidInputError, NotFoundError

PAGE = 1000


def export_captions(
    reads: Sessions, form: CaptionFormat, *, video_id: UUID | None = None
) -> Iterator[str]:
    """Return the pieces of a file of captions; importing it again changes nothing.

    In WebVTT and SubRip, which know only spans, a caption of the whole video spans all of it.

    Args:
        reads: reading sessions; one is open only while a piece is made.
        form: what file.
        video_id: only the captions of this video.

    Raises:
        NotFoundError: there is no such video.
        InvalidInputError: the format is about one video, and none is named.
        ConflictError: the length of the video is needed, and not known.
    """
    if video_id is None:
        if form.needs_video:
            raise InvalidInputError(
                f"A file of the format {form} is about one video; say which, as video_id.",
                reason="video_id_missing",
            )
        return _write_table(reads, form, None)
    with reads() as session:
        duration_s = _read_length(session, video_id)
    if not form.needs_video:
        return _write_table(reads, form, video_id)
    if duration_s is None:
        raise ConflictError(
            "Nobody knows yet how long the video is. Try again when it is ready.",
            reason="length_unknown",
        )
    return _write_cues(reads, form, video_id, length_of(duration_s))


def _read_length(session: Session, video_id: UUID) -> float | None:
    record = video_queries.find_video(session, video_id)
    if record is None:
        raise NotFoundError(f"There is no video {video_id}.")
    return record.video.duration_s


def _write_table(reads: Sessions, form: CaptionFormat, video_id: UUID | None) -> Iterator[str]:
    write = write_csv if form is CaptionFormat.CSV else write_jsonl
    if form is CaptionFormat.CSV:
        yield csv_header()
    for page in _pages(reads, video_id):
        yield write(page)


def _write_cues(
    reads: Sessions, form: CaptionFormat, video_id: UUID, length_s: float
) -> Iterator[str]:
    if form is CaptionFormat.VTT:
        yield "WEBVTT\n\n"
    captions = [named.caption for page in _pages(reads, video_id) for named in page]
    captions.sort(key=lambda one: (one.start_s or 0.0, one.created_at, one.id))
    for number, one in enumerate(captions, start=1):
        end_s = length_s if one.end_s is None else one.end_s
        yield write_cue(number, one.start_s or 0.0, end_s, one.text, form)


def _pages(reads: Sessions, video_id: UUID | None) -> Iterator[list[NamedCaption]]:
    after = None
    while True:
        with reads() as session:
            page = caption_queries.captions_after(
                session, video_id=video_id, after=after, limit=PAGE
            )
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = (page[-1].caption.created_at, page[-1].caption.id)
