"""An installation without an API: a catalog, files, a broker and a tiny bundle."""

import pytest

from tests import factories_ingest
from workers.resources import Resources


@pytest.fixture
def settings(settings):
    """Short segments, so that short videos have some; quick leases."""
    return settings.model_copy(
        update={
            "segment_s": 1.0,
            "segment_every_s": 1.0,
            "embed_batch": 4,
            "device": "cpu",
            "job_lease_s": 3,
            "sweep_every_s": 1.0,
        }
    )


@pytest.fixture
def generation(sessions, bundle_dir):
    """The generation of the tiny bundle."""
    return factories_ingest.register(sessions, bundle_dir)


@pytest.fixture
def upload_file(sessions, storage, sender, generation):  # noqa: ARG001 (uploads need one)
    """Accept a file: `upload_file(path)`."""
    return lambda path: factories_ingest.upload_file(sessions, storage, sender, path)


@pytest.fixture
def resources(settings):
    """What a worker process holds."""
    with Resources(settings) as resources:
        yield resources
