"""The one statement that every search runs: which of its hits may still be shown.

It is sent as the same text however many hits there are (an IN list of pairs took ten times as
long to compile as to run): the keys go as one array, which each database unfolds in its own way.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    FromClause,
    Integer,
    Select,
    Table,
    Uuid,
    bindparam,
    func,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.index_queries import SEARCHABLE, LiveSegment, SegmentKey
from service.catalog.tables import Segment, Video


def live_segments(
    session: Session, keys: Sequence[SegmentKey], generation_id: UUID | None = None
) -> list[LiveSegment | None]:
    """Return the segments in the order of their keys; None where the video is not searchable.

    The check that makes a delete hold at once: what is None at this moment must not be shown.

    Args:
        session: any session.
        keys: of the segments.
        generation_id: `derived` names the clips that were decoded for this generation where there
            are any; those of the video itself otherwise, and if None.
    """
    if session.get_bind().dialect.name == "sqlite":
        wanted = json.dumps([[video_id.hex, ordinal] for video_id, ordinal in keys])
        rows = session.execute(ON_SQLITE, {"keys": wanted, "generation_id": generation_id})
    else:
        video_ids, ordinals = [key[0] for key in keys], [key[1] for key in keys]
        given = {"video_ids": video_ids, "ordinals": ordinals, "generation_id": generation_id}
        rows = session.execute(ON_POSTGRESQL, given)
    found: list[LiveSegment | None] = [None] * len(keys)
    for place, *columns in rows.all():
        found[place] = LiveSegment(*keys[place], *columns)
    return found


def _select(wanted: FromClause, place: Any, video_id: Any, ordinal: Any) -> Select[Any]:
    segments, videos = _table(Segment), _table(Video)
    embedded = _table(GenerationVideo)
    is_of_generation = (embedded.c.generation_id == bindparam("generation_id", type_=Uuid())) & (
        embedded.c.video_id == videos.c.id
    )
    return (
        select(
            place,
            videos.c.version,
            segments.c.position,
            segments.c.start_s,
            segments.c.end_s,
            segments.c.thumbnail_offset,
            segments.c.thumbnail_bytes,
            func.coalesce(embedded.c.derived, videos.c.derived),
            videos.c.title,
            videos.c.file_name,
            videos.c.duration_s,
        )
        .select_from(wanted)
        .join(segments, (segments.c.video_id == video_id) & (segments.c.ordinal == ordinal))
        .join(videos, videos.c.id == segments.c.video_id)
        .outerjoin(embedded, is_of_generation)
        .where(videos.c.state.in_(SEARCHABLE))
    )


def _on_sqlite() -> Select[Any]:
    wanted = func.json_each(bindparam("keys")).table_valued("key", "value", name="wanted")
    video_id = type_coerce(func.json_extract(wanted.c.value, "$[0]"), Uuid())
    return _select(wanted, wanted.c.key, video_id, func.json_extract(wanted.c.value, "$[1]"))


def _on_postgresql() -> Select[Any]:
    wanted = func.unnest(
        bindparam("video_ids", type_=ARRAY(Uuid())), bindparam("ordinals", type_=ARRAY(Integer()))
    ).table_valued("video_id", "ordinal", with_ordinality="place", name="wanted")
    wanted = wanted.render_derived()
    return _select(wanted, wanted.c.place - 1, wanted.c.video_id, wanted.c.ordinal)


def _table(of: type[Segment | Video | GenerationVideo]) -> Table:
    table = of.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{of.__name__} is no plain table")
    return table


ON_SQLITE, ON_POSTGRESQL = _on_sqlite(), _on_postgresql()
