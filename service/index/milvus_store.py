"""A Milvus server: a collection for each generation, named by it and by who filled it."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.errors import UnavailableError
from service.index.faiss_index import Hit
from service.index.view import Upserted

T = TypeVar("T")
MilvusKind = Literal["AUTOINDEX", "FLAT", "HNSW", "IVF_FLAT"]

ROWS_AT_ONCE = 1000
IDS_AT_ONCE = 1000  # videos that one expression names
MOST_HITS = 16_384  # Milvus returns no more
TIMEOUT_S = 20.0
SEARCH_TIMEOUT_S = 5.0
BUILD_PARAMETERS: Mapping[str, dict[str, int]] = {
    "HNSW": {"M": 32, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 2048},
}
FIELDS = ["video_id", "version", "seq", "ordinal"]


class MilvusStore:
    """What we do with a Milvus server; safe to use from many threads.

    Args:
        uri: as `http://milvus:19530`.
        token: `user:password` or an API key, if it wants one.
        prefix: of the names of our collections.
        kind: index that collections get.

    Raises:
        UnavailableError: pymilvus is not installed.
    """

    def __init__(self, uri: str, *, token: str, prefix: str, kind: MilvusKind) -> None:
        self.prefix = prefix
        self._uri, self._token, self._kind = uri, token, kind
        self._client: Any = None
        self._milvus = _import_pymilvus()

    def has(self, place: str) -> bool:
        """Tell whether a collection is there."""
        with self._asking() as client:
            return bool(client.has_collection(place, timeout=TIMEOUT_S))

    def create(self, place: str, dim: int) -> None:
        """Make an empty collection in place of one that may be there."""
        types = self._milvus.DataType
        with self._asking() as client:
            client.drop_collection(place)
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", types.VARCHAR, max_length=80, is_primary=True)
            schema.add_field("video_id", types.VARCHAR, max_length=32)
            for name in FIELDS[1:]:
                schema.add_field(name, types.INT64)
            schema.add_field("vector", types.FLOAT_VECTOR, dim=dim)
            index = client.prepare_index_params()
            index.add_index(
                field_name="vector",
                index_type=self._kind,
                metric_type="IP",
                params=BUILD_PARAMETERS.get(self._kind, {}),
            )
            # what was written is found by the next search: a view promises its changes
            client.create_collection(
                place, schema=schema, index_params=index, consistency_level="Strong"
            )

    def add(self, place: str, upserts: Iterable[Upserted]) -> None:
        """Add embeddings; what is there already stays as it is.

        The key of a row has the number of its change, so whoever is late, and not the feeder any
        more, can't overwrite what is newer.
        """
        rows = (row for one in upserts for row in _rows(one))
        for some in in_parts(rows, ROWS_AT_ONCE):
            with self._asking() as client:
                client.upsert(place, some, timeout=TIMEOUT_S)

    def remove(self, place: str, video_ids: Collection[UUID], *, before: int) -> None:
        """Remove what changes before this one brought of some videos."""
        for some in in_parts(sorted(video_ids), IDS_AT_ONCE):
            with self._asking() as client:
                client.delete(place, filter=f"{among(some)} and seq < {before}", timeout=TIMEOUT_S)

    def search(
        self,
        place: str,
        query: NDArray[np.float32],
        k: int,
        *,
        condition: str = "",
        above: float | None = None,
    ) -> list[Hit]:
        """Return what is most similar, best first.

        Args:
            place: the collection.
            query: unit norm, (E,).
            k: how many at most, at most `MOST_HITS`.
            condition: an expression over `video_id` and `seq`.
            above: only what is more similar than this.
        """
        effort = {"HNSW": {"ef": max(128, 2 * k)}, "IVF_FLAT": {"nprobe": 64}}
        parameters: dict[str, float] = dict(effort.get(self._kind, {}))
        if above is not None:
            parameters["radius"] = above
        with self._asking() as client:
            (found,) = client.search(
                place,
                data=[query],
                anns_field="vector",
                limit=k,
                filter=condition,
                output_fields=FIELDS,
                search_params={"metric_type": "IP", "params": parameters},
                timeout=SEARCH_TIMEOUT_S,
            )
        return [_hit(one) for one in found]

    def count(self, place: str) -> int:
        """Return how many embeddings a collection has."""
        with self._asking() as client:
            (row,) = client.query(place, filter="", output_fields=["count(*)"], timeout=TIMEOUT_S)
        return int(row["count(*)"])

    def keys(self, place: str) -> Iterator[Mapping[str, Any]]:
        """Yield video_id, version, seq and ordinal of everything in a collection."""
        with self._asking() as client:
            rows = client.query_iterator(place, batch_size=ROWS_AT_ONCE, output_fields=FIELDS)
            try:
                while some := rows.next():
                    yield from some
            finally:
                rows.close()

    def places(self) -> list[str]:
        """Return our collections."""
        with self._asking() as client:
            names = client.list_collections()
        ours = re.compile(rf"{re.escape(self.prefix)}_[0-9a-f]{{32}}_\d+_[0-9a-f]{{8}}")
        return [name for name in names if ours.fullmatch(name)]

    def drop(self, place: str) -> None:
        """Remove a collection."""
        with self._asking() as client:
            client.drop_collection(place)

    def name_active(self, place: str) -> None:
        """Let the alias `<prefix>_active` mean a collection, for other programs."""
        alias = f"{self.prefix}_active"
        with self._asking() as client:
            if alias in _aliases(client, place):
                return
            try:
                client.alter_alias(place, alias)
            except self._milvus.MilvusException:
                client.create_alias(place, alias)

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        """Give the client, connected at its first use.

        Raises:
            UnavailableError: Milvus is not there, or refused.
        """
        try:
            if self._client is None:
                self._client = self._milvus.MilvusClient(
                    self._uri, token=self._token, timeout=TIMEOUT_S
                )
            yield self._client
        except self._milvus.MilvusException as error:
            raise UnavailableError(
                f"The Milvus server did not do what was asked: {error.message}",
                reason="index_unavailable",
                retry_after_s=2,
            ) from error


def among(video_ids: Iterable[UUID]) -> str:
    """Return the expression that a video is one of some."""
    named = ",".join(f'"{one.hex}"' for one in video_ids)
    return f"video_id in [{named}]"


def in_parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` values."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some


def _rows(upsert: Upserted) -> Iterator[dict[str, Any]]:
    slot = upsert.slot
    for ordinal, vector in zip(upsert.ordinals, upsert.vectors, strict=True):
        yield {
            "id": f"{slot.video_id.hex}-{ordinal}-{slot.seq}",
            "video_id": slot.video_id.hex,
            "version": slot.version,
            "seq": slot.seq,
            "ordinal": ordinal,
            "vector": vector.astype(np.float32),
        }


def _hit(found: Mapping[str, Any]) -> Hit:
    row = found["entity"]
    return Hit(
        UUID(hex=row["video_id"]), row["version"], row["seq"], row["ordinal"], found["distance"]
    )


def _aliases(client: Any, place: str) -> Sequence[str]:
    aliases: Sequence[str] = client.list_aliases(place).get("aliases", [])
    return aliases


def _import_pymilvus() -> Any:
    """Import it only where it is wanted: it is an extra, and takes seconds."""
    try:
        import pymilvus  # noqa: PLC0415
    except ImportError as error:
        raise UnavailableError(
            "REELSEEK_MILVUS_URI is set, but pymilvus is not installed; install reelseek[milvus].",
            reason="index_unavailable",
        ) from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # we say what failed, once
    return pymilvus
