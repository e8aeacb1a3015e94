"""An installation with videos that one tiny model embedded, and other models to switch to."""

from dataclasses import asdict, replace
from functools import partial

import pytest

from model.bundle import bundle_digest, load_bundle, save_bundle
from service.activations import request_activation
from service.catalog import audit
from service.catalog.activation_queries import get_activation
from service.catalog.activation_tables import Trigger
from service.catalog.generation_queries import find_active_generation, put_version
from service.catalog.session import in_transaction, make_read_sessions
from service.housekeeping import sweep_generations
from service.registry import Registry
from tests import factories_ingest
from tests.factories_model import (
    TINY,
    TINY_PREPROCESSING,
    make_tiny_bundle,
    make_tiny_network,
    make_tokenizer,
)
from workers.activation import Patience, run
from workers.ingest import ingest
from workers.reembed import embed
from workers.resources import Resources
from workers.runner import run_job

IMPATIENT = Patience(first_s=0.0, settle_s=0.0, most_s=1.0)


@pytest.fixture
def settings(settings):
    """Short segments, so that short videos have some; quick leases."""
    quick = {
        "segment_s": 1.0,
        "segment_every_s": 1.0,
        "embed_batch": 4,
        "device": "cpu",
        "job_lease_s": 3,
        "sweep_every_s": 1.0,
    }
    return settings.model_copy(update=quick)


@pytest.fixture
def generation(sessions, bundle_dir):
    """The generation of the tiny bundle, which is searched."""
    return factories_ingest.register(sessions, bundle_dir)


@pytest.fixture(scope="session")
def other_dir(tmp_path_factory):
    """A bundle of the same clip shape."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "other", seed=1)


@pytest.fixture(scope="session")
def larger_dir(tmp_path_factory):
    """A bundle that reads more frames, so other clips."""
    folder = tmp_path_factory.mktemp("bundle") / "larger"
    dims = replace(TINY, frames=4)
    save_bundle(
        folder,
        network=make_tiny_network(2, dims),
        dims=dims,
        preprocessing=replace(TINY_PREPROCESSING, frames_per_clip=4),
        tokenizer_json=make_tokenizer().to_str(),
        card={"name": "four frames"},
    )
    return folder


@pytest.fixture
def resources(settings):
    """What a worker process holds."""
    with Resources(settings) as resources:
        yield resources


class Switching:
    """What the tests do: upload, work on jobs, ask for models, look."""

    def __init__(self, sessions, storage, sender, settings, resources):
        self.sessions, self.storage, self.sender = sessions, storage, sender
        self.settings, self.resources = settings, resources
        self.registry = Registry(settings.data_dir)

    def upload(self, path):
        """Accept a file; nothing works on it yet."""
        return factories_ingest.upload_file(self.sessions, self.storage, self.sender, path)

    def ingest(self, path):
        """Upload a file, and make it searchable."""
        accepted = self.upload(path)
        run_job(accepted.job_id, ingest, self.resources)
        return accepted

    def register(self, folder, name="other"):
        """Register a bundle, and return its id."""
        spec = asdict(load_bundle(folder).spec)
        digest = bundle_digest(folder)
        return in_transaction(
            self.sessions,
            lambda session: (
                put_version(session, name=name, digest=digest, path=str(folder), spec=spec).id
            ),
        )

    def request(self, version_id, **options):
        """Ask for a model."""
        return request_activation(
            self.sessions,
            self.sender,
            self.registry,
            model_version_id=version_id,
            trigger=Trigger.PERSON,
            **options,
        )

    def work(self, requested, patience=IMPATIENT, resources=None):
        """Do the job of an activation, and return what is known of it then."""
        run_job(requested.job_id, partial(run, patience=patience), resources or self.resources)
        return self.record(requested.activation_id)

    def embed(self, job_id):
        """Do the job that embeds one video into one more generation."""
        run_job(job_id, embed, self.resources)

    def record(self, activation_id):
        """Return an activation with its job."""
        with self.sessions() as session:
            return get_activation(session, activation_id)

    @property
    def active(self):
        """What is searched."""
        with self.sessions() as session:
            return find_active_generation(session)

    def query(self, statement):
        """Return the rows of a statement."""
        with self.sessions() as session:
            return session.execute(statement).all()

    def sweep(self):
        """Do what the sweep does with generations."""
        sweep_generations(self.sessions, self.storage, self.registry, grace_s=0.0)

    def assert_consistent(self, *, grace_s=3600):
        """Check every promise."""
        reads = make_read_sessions(self.sessions.kw["bind"])
        with reads() as session:
            assert audit.audit(session, self.storage, grace_s=grace_s) == []


@pytest.fixture
def switching(*, sessions, storage, sender, settings, resources, generation):  # noqa: ARG001
    """An installation in which `generation` is searched."""
    return Switching(sessions, storage, sender, settings, resources)


@pytest.fixture
def gallery(switching, make_video):
    """Three videos that are searched."""
    return [
        switching.ingest(make_video(f"{n}.mp4", duration_s=n)) for n in (2, 3, 4)
    ]  # other lengths are other files
