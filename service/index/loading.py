"""Embeddings from SQL into an index: all of a generation, or those of some videos."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from uuid import UUID

import numpy as np
import structlog
from sqlalchemy.orm import Session

from service.catalog.change_queries import read_counter
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.index_queries import EmbeddingRow, read_embeddings
from service.catalog.replica_queries import Upsert, read_upserts
from service.catalog.session import allow_idling
from service.catalog.tables import Change, ChangeOp
from service.index.faiss_index import FaissIndex, Slot
from service.index.kinds import FlatKind
from service.index.view import IndexView, Upserted, keys_of

log = structlog.get_logger(__name__)


def load_view(session: Session, generation: ActiveGeneration, *, kind: FlatKind) -> IndexView:
    """Build the view of a generation from SQL, as of the change counter now.

    The counter is read first: what is committed while embeddings are read belongs to later changes.
    """
    allow_idling(session)  # a large index takes a while to build
    counter = read_counter(session)
    loaded = list(read_all(session, generation.generation_id, up_to_seq=counter.seq))
    dim = int(generation.spec["embedding_dim"])
    vectors = [np.empty((0, dim), np.float16), *(one.vectors for one in loaded)]
    base = FaissIndex.build(np.concatenate(vectors), keys_of(loaded), kind=kind)
    return IndexView(
        generation_id=generation.generation_id,
        model_version_id=generation.model_version_id,
        epoch=counter.epoch,
        seq=counter.seq,
        chain=counter.chain,
        base=base,
        is_dead=np.zeros(len(base.keys.seqs), np.bool_),
        delta=FaissIndex.empty(dim),
    )


def apply_changes(
    session: Session, view: IndexView, changes: Sequence[Change], *, seq: int, chain: str
) -> IndexView:
    """Return the view after some changes."""
    gone, upserts = read_effects(session, view.generation_id, changes)
    return view.apply(seq=seq, chain=chain, gone=gone, upserts=upserts)


def read_effects(
    session: Session, generation_id: UUID, changes: Sequence[Change]
) -> tuple[set[UUID], list[Upserted]]:
    """Return the videos whose earlier embeddings changes end, and the new embeddings.

    Of each video the last change counts.
    """
    gone: set[UUID] = set()
    announced: dict[UUID, Upsert] = {}
    for change in changes:
        concerns_us = change.generation_id in (None, generation_id)
        if change.video_id is None or not concerns_us:
            continue
        gone.add(change.video_id)
        announced.pop(change.video_id, None)
        if change.op == ChangeOp.UPSERT:
            announced[change.video_id] = Upsert(change.seq, change.video_version or 0)
    return gone, _load_upserts(session, generation_id, announced)


def read_all(session: Session, generation_id: UUID, *, up_to_seq: int) -> Iterator[Upserted]:
    """Yield the embeddings of a generation by video, as lines up to `up_to_seq` announced them.

    Embeddings that are committed while they are read belong to later changes and are left out:
    the change log brings them, with their number.
    """
    announced = read_upserts(session, generation_id, up_to_seq=up_to_seq)
    yield from _upserted(read_embeddings(session, generation_id), announced)


def _load_upserts(
    session: Session, generation_id: UUID, announced: Mapping[UUID, Upsert]
) -> list[Upserted]:
    """Read the embeddings that changes announced; what was deleted since is not there."""
    if not announced:
        return []
    rows = read_embeddings(session, generation_id, announced.keys())
    return list(_upserted(rows, announced))


def _upserted(rows: Iterable[EmbeddingRow], announced: Mapping[UUID, Upsert]) -> Iterator[Upserted]:
    for video_id, of_video in groupby(rows, key=lambda row: row.video_id):
        upsert = announced.get(video_id)
        intact = _intact(of_video)
        if upsert is None or not intact or intact[0].video_version != upsert.video_version:
            continue  # a later change brings it
        vectors = np.frombuffer(b"".join(row.vector for row in intact), "<f2")
        yield Upserted(
            slot=Slot(video_id, upsert.video_version, upsert.seq),
            ordinals=[row.ordinal for row in intact],
            vectors=vectors.reshape(len(intact), -1),
        )


def _intact(rows: Iterable[EmbeddingRow]) -> list[EmbeddingRow]:
    """Leave out what is not what was written; the audit finds it, too."""
    intact = []
    for row in rows:
        if zlib.crc32(row.vector) == row.crc:
            intact.append(row)
        else:
            log.error("embedding_damaged", video_id=str(row.video_id), ordinal=row.ordinal)
    return intact
