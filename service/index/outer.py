"""Follows generations that are held outside this process: how far they are stands in SQL."""

from dataclasses import dataclass, replace

from service.catalog.applier_queries import read_standing
from service.catalog.change_queries import read_counter
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.session import Sessions
from service.encoder import Encoder
from service.errors import UnavailableError
from service.index.feeder import Feeder
from service.index.followed import ChangeLines, OutOfStepError
from service.index.milvus_index import MilvusIndex
from service.index.milvus_store import MilvusStore
from service.index.serving import Serving
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A Milvus server that holds our generations.

    Attributes:
        store: the server.
        name: of the index, in SQL.
        feeder: this process's, which may or may not be the one that works.
        reads: transactions that only read.
    """

    store: MilvusStore
    name: str
    feeder: Feeder
    reads: Sessions

    @classmethod
    def of(cls, settings: Settings, *, reads: Sessions, sessions: Sessions) -> "Outer | None":
        """Return the server that the settings name, if they name one.

        Raises:
            UnavailableError: pymilvus is not installed.
        """
        if settings.milvus_uri is None:
            return None
        token = settings.milvus_token
        store = MilvusStore(
            settings.milvus_uri,
            token="" if token is None else token.get_secret_value(),
            prefix=settings.milvus_prefix,
            kind=settings.milvus_index,
        )
        name = f"milvus:{settings.milvus_prefix}"
        poll_s = settings.replica_poll_ms / 1000
        feeder = Feeder(reads=reads, sessions=sessions, store=store, name=name, poll_s=poll_s)
        return cls(store=store, name=name, feeder=feeder, reads=reads)

    def follow(self, generation: ActiveGeneration, encoder: Encoder) -> "OuterFollowed":
        """Return a generation as it is held now.

        Raises:
            UnavailableError: it is still being filled.
        """
        with self.reads() as session:
            epoch = read_counter(session).epoch
            standing = read_standing(session, self.name, generation.generation_id)
        if standing is None or standing.place is None or standing.epoch != epoch:
            raise UnavailableError(
                "The index in Milvus is being filled; try again in a moment.",
                reason="index_loading",
                retry_after_s=5,
            )
        view = MilvusIndex(
            generation_id=generation.generation_id,
            model_version_id=generation.model_version_id,
            epoch=standing.epoch,
            seq=standing.seq,
            place=standing.place,
            store=self.store,
        )
        return OuterFollowed(Serving(encoder=encoder, view=view), view, self)


class OuterFollowed:
    """One generation in Milvus: its view advances as far as it was fed.

    Args:
        serving: as it was found.
        view: the same.
        outer: where it is.
    """

    def __init__(self, serving: Serving, view: MilvusIndex, outer: Outer) -> None:
        self.serving = serving
        self.view = view
        self._outer = outer

    def advance(self, lines: ChangeLines) -> bool:
        """Look how far it was fed.

        Returns:
            False: there is nothing more to do here.

        Raises:
            OutOfStepError: it does not fit the change log.
        """
        standing = read_standing(lines.session, self._outer.name, self.view.generation_id)
        if standing is None or standing.place is None or standing.epoch != lines.counter.epoch:
            raise OutOfStepError("what Milvus holds is of another history")
        if (standing.seq, standing.place) != (self.view.seq, self.view.place):
            self.view = replace(self.view, seq=standing.seq, place=standing.place)
            self.serving = replace(self.serving, view=self.view)
        if standing.seq < lines.counter.seq:
            self._outer.feeder.wake()
        return False

    def tend_base(self) -> None:
        """Do nothing: Milvus tends its own."""

    def give_up(self) -> None:
        """Do nothing: nothing is built here."""

    def join(self, timeout_s: float) -> None:
        """Do nothing: nothing is built here."""
