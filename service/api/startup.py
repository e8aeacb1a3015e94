"""Opens what the routes share when the server starts, and closes it when it stops."""

import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import Engine

from service import access
from service.access import oidc
from service.api.admission import SEARCH_THREADS
from service.api.events import JOBS, Feed
from service.api.jobs import read_watched
from service.api.key_use import KeyUse
from service.api.metrics import Metrics
from service.api.rates import Rates
from service.api.state import Gate, SearchParts, State
from service.api.system import describe_replica, read_figures
from service.api.tuning_events import TUNINGS, TuningReader
from service.catalog.generation_queries import (
    ActiveGeneration,
    ensure_active_generation,
    find_active_generation,
)
from service.catalog.session import (
    in_transaction,
    make_engine,
    make_read_sessions,
    make_sessions,
    warn_of_forgetful_database,
)
from service.encoder import Encoder
from service.errors import ServiceError
from service.index.replica import IndexReplica
from service.jobs import JobSender
from service.models import find_bundle, is_anything_embedded, keep_bundle, notice_of
from service.observing.presence import Presence
from service.quotas import Quotas
from service.registry import Registry
from service.search import ClipStore
from service.settings import Settings
from service.storage import open_storage

log = structlog.get_logger()

CURSORS = "cursors"
UPLOAD_THREADS = 8
SEARCH_PATIENCE_S = 5.0
"""A search that finds no thread for so long would be too late for whoever asks."""
ESTIMATES_WAITING = 4


class Running:
    """The open parts of one API process."""

    def __init__(self, state: State, engine: Engine) -> None:
        self.state = state
        self._engine = engine
        self._encoder: Encoder | None = None
        self._is_stopping = False
        self._loader = threading.Thread(target=self._load_search, name="load-search", daemon=True)
        self._presence = Presence(
            state.sessions, kind="api", read_facts=partial(describe_replica, state)
        )

    def start(self) -> None:
        """Start the threads; returns at once, while the model is still being loaded."""
        self.state.feed.start()
        self.state.key_use.start()
        self._loader.start()
        self._presence.start()

    def stop(self) -> None:
        """Stop the threads and close everything."""
        self._is_stopping = True
        self._presence.stop()
        self.state.feed.stop()
        self._loader.join()
        replica = self.state.search_parts.replica
        if replica is not None:
            replica.stop()
        if self._encoder is not None:
            self._encoder.close()
        self.state.sender.close()
        self.state.key_use.stop()
        self._engine.dispose()

    def _load_search(self) -> None:
        """Load the bundle, make sure that it is the one that is searched, start the replica."""
        state = self.state
        try:
            self._encoder = load_first_bundle(state)
            replica = IndexReplica(
                reads=state.reads,
                sessions=state.sessions,
                settings=state.settings,
                open_encoder=self._open_encoder,
            )
            if not self._is_stopping:
                replica.start()
                state.search_parts.set_started(replica)
            keep_active_bundle(state)
        except ServiceError as error:
            log.exception("search_not_started", reason=error.reason)
            state.search_parts.set_failed(error.detail)
        except Exception:
            log.exception("search_not_started")
            state.search_parts.set_failed("The model could not be loaded; the log says why.")

    def _open_encoder(self, generation: ActiveGeneration) -> Encoder:
        loaded = self._encoder
        if loaded is not None and loaded.digest == generation.bundle_digest:
            self._encoder = None  # it is the replica's now, which closes it
            return loaded
        settings = self.state.settings
        return Encoder(find_bundle(generation, Registry(settings.data_dir), None), settings)


def start(settings: Settings, metrics: Metrics) -> Running:
    """Open everything; the schema must be there already (`reelseek migrate`)."""
    engine = make_engine(settings.sqlalchemy_url, wait_s=settings.database_wait_s)
    try:
        warn_of_forgetful_database(engine)
        sessions, reads = make_sessions(engine), make_read_sessions(engine)
        new_key = access.ensure_admin_key(sessions, settings)
        if new_key is not None:
            _show_once(new_key)
        storage = open_storage(settings)
        state = State(
            settings=settings,
            sessions=sessions,
            reads=reads,
            storage=storage,
            clips=ClipStore(storage),
            sender=JobSender(settings),
            search_parts=SearchParts(),
            feed=Feed(
                {JOBS: partial(read_watched, reads), TUNINGS: TuningReader(reads)},
                limit=settings.event_streams,
                limit_per_owner=settings.event_streams_per_key,
            ),
            metrics=metrics,
            uploads=Gate(threads=UPLOAD_THREADS, waiting=settings.uploads_open),
            searches=Gate(
                threads=SEARCH_THREADS,
                waiting=settings.search_queue,
                patience_s=SEARCH_PATIENCE_S,
            ),
            estimates=Gate(threads=1, waiting=ESTIMATES_WAITING),
            cursor_key=access.ensure_secret(sessions, CURSORS),
            quotas=Quotas.of(settings),
            rates=Rates(settings),
            key_use=KeyUse(sessions),
            tokens=oidc.open_reader(settings),
        )
    except BaseException:
        engine.dispose()
        raise
    metrics.watch(partial(read_figures, state))
    running = Running(state, engine)
    running.start()
    return running


def load_first_bundle(state: State) -> Encoder | None:
    """Load and register the bundle to begin with, while no video is embedded.

    Returns:
        None if videos are embedded: then the bundle that embedded them is searched with,
        whichever one is configured; another one takes over by an activation.
    """
    with state.reads() as session:
        active = find_active_generation(session)
        is_used = is_anything_embedded(session)
    if active is not None and is_used:
        notice = notice_of(active, state.settings.bundle)
        if notice is not None:
            log.warning("other_bundle_configured", notice=notice)
        return None
    path = find_bundle(active, Registry(state.settings.data_dir), state.settings.bundle)
    encoder = Encoder(path, state.settings)
    register_bundle(state, encoder, path)
    return encoder


def keep_active_bundle(state: State) -> None:
    """Copy the bundle that is searched into the data folder, if an update could take it away."""
    registry = Registry(state.settings.data_dir)
    with state.reads() as session:
        active = find_active_generation(session)
    if active is None:
        return
    try:
        folder = find_bundle(active, registry, None)
        keep_bundle(registry, digest=active.bundle_digest, folder=folder)
    except (OSError, ServiceError) as error:  # searches do not need the copy yet
        log.warning("bundle_not_kept", error=str(error))


def register_bundle(state: State, encoder: Encoder, path: Path) -> ActiveGeneration:
    """Search with this bundle; at the first start that makes the generation."""
    return in_transaction(
        state.sessions,
        lambda session: ensure_active_generation(
            session,
            name=path.name,
            digest=encoder.digest,
            path=str(path.absolute()),
            spec=asdict(encoder.spec),
        ),
    )


def _show_once(new_key: str) -> None:
    """Print the key for whoever started this without `reelseek serve`, which shows it itself."""
    print(f"Admin key (shown only now): {new_key}", flush=True)  # noqa: T201 (never in a log)
