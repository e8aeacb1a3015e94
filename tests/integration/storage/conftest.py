"""Files kept in a folder and in a bucket of a real object store."""

import pytest

from service.settings import Settings
from service.storage import open_storage
from tests.object_store import with_bucket


@pytest.fixture
def bucket_settings(tmp_path, object_store):
    """Settings of an installation that keeps its files in a bucket."""
    return with_bucket(Settings(data_dir=tmp_path / "machine", disk_reserve_bytes=0), object_store)


@pytest.fixture
def bucket(bucket_settings):
    """The files of that installation."""
    return open_storage(bucket_settings)


@pytest.fixture(params=["folder", "bucket"])
def files(request, tmp_path):
    """The files of an installation: each test runs on both kinds."""
    if request.param == "bucket":
        return request.getfixturevalue("bucket")
    return open_storage(Settings(data_dir=tmp_path / "machine", disk_reserve_bytes=0))
