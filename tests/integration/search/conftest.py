"""A gallery, replicas of it, and searches over it."""

from pathlib import Path

import pytest

from service.encoder import Encoder
from service.index.replica import IndexReplica
from service.search import ClipStore, SearchRequest, search
from tests.factories_gallery import Gallery, like, until
from tests.factories_generations import build_generation, embed_in
from tests.factories_model import make_tiny_bundle

CURSOR_KEY = b"k" * 32
TEXT = "a red circle"


@pytest.fixture
def settings(settings):
    """Settings under which replicas follow quickly and deadlines are far away."""
    return settings.model_copy(update={"replica_poll_ms": 10, "search_deadline_ms": 60_000})


@pytest.fixture
def patience(monkeypatch):
    """A machine that stands still for two seconds is no index that is behind."""
    monkeypatch.setattr("service.index.serving.LONGEST_WAIT_S", 60.0)


@pytest.fixture
def encoder(bundle_dir, settings):
    """The encoder of the tiny bundle."""
    encoder = Encoder(bundle_dir, settings)
    yield encoder
    encoder.close()


@pytest.fixture
def gallery(sessions, storage, bundle_dir, encoder):
    """An empty gallery of the tiny bundle."""
    return Gallery(sessions, storage, bundle_dir, digest=encoder.digest, spec=encoder.spec)


@pytest.fixture
def make_replica(gallery, read_sessions, sessions, settings):  # noqa: ARG001 (it must be registered)
    """Start a replica of the gallery and wait until it is ready."""
    replicas = []

    def make_replica(*, is_awaited=True, **options):
        replica = IndexReplica(
            reads=read_sessions,
            sessions=sessions,
            settings=options.pop("settings", settings),
            open_encoder=lambda generation: Encoder(Path(generation.bundle_path), settings),
            **options,
        )
        replica.start()
        replicas.append(replica)
        if is_awaited:
            until(lambda: replica.is_ready, what="the replica")
        return replica

    yield make_replica
    for replica in replicas:
        replica.stop()


@pytest.fixture
def ask(read_sessions, storage, settings):
    """Search: `ask(replica, "text", limit=3)`."""
    clips = ClipStore(storage)

    def ask(replica, text="a red circle", **options):
        key = options.pop("cursor_key", CURSOR_KEY)
        request = SearchRequest(text=text, **{"rerank_depth": 0, **options})
        return search(
            request,
            replica=replica,
            reads=read_sessions,
            clips=clips,
            settings=settings,
            cursor_key=key,
        )

    return ask


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory):
    """A second bundle, with other random weights."""
    return make_tiny_bundle(tmp_path_factory.mktemp("other") / "tiny", seed=5)


@pytest.fixture
def other_encoder(other_bundle, settings):
    """The encoder of the second bundle."""
    encoder = Encoder(other_bundle, settings)
    yield encoder
    encoder.close()


@pytest.fixture
def first(gallery):
    """Id of the generation that is searched at the start."""
    return gallery.generation.generation_id


@pytest.fixture
def second(gallery, sessions, other_bundle):
    """Id of a generation of the second bundle that waits to take over."""
    return build_generation(sessions, other_bundle, gallery.spec).generation_id


@pytest.fixture
def add_to_both(gallery, sessions, encoder, other_encoder, second):
    """Add a video to both generations: `add_to_both(0.9, 0.2)`, similar to TEXT in each."""

    def add(in_first, in_second, **options):
        vector = like(encoder.embed_text(TEXT), in_first)
        video_id = gallery.add([vector], **options)
        other = like(other_encoder.embed_text(TEXT), in_second)
        embed_in(sessions, second, video_id, [other])
        return video_id

    return add
