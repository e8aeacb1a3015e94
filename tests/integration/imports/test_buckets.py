"""Imports from a bucket of a real S3-compatible server."""

import httpx
import pytest
from sqlalchemy import select

from service.catalog.import_tables import ItemState
from service.catalog.tables import Job, JobKind, JobState
from service.imports.requesting import Bucket
from tests.hostile_servers import silent
from tests.object_store import make_bucket, running_object_store

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def store():
    with running_object_store() as url:
        yield url


@pytest.fixture
def bucket(store):
    return make_bucket(store)


@pytest.fixture
def settings(settings, store):
    return type(settings)(
        **settings.model_dump()
        | {
            "import_idle_s": 2.0,
            "import_s3_endpoint": store,
            "import_s3_access_key": "tests",
            "import_s3_secret_key": "secret-of-the-tests",
        }
    )


@pytest.fixture
def put(store, bucket):
    def put(key, content):
        httpx.put(
            f"{store}/{bucket}/{key}", content=content, trust_env=False, timeout=60
        ).raise_for_status()

    return put


def job_of(sessions):
    with sessions() as session:
        return session.scalars(select(Job).where(Job.kind == JobKind.IMPORT)).one()


def test_the_videos_below_a_prefix_are_imported(run_import, bucket, put, make_video):
    one, other = (make_video(f"{n}.mp4", duration_s=n).read_bytes() for n in (1, 2))
    put("in/a.mp4", one)
    put("in/deep/b.mp4", other)
    put("in/notes.txt", b"none")
    put("in/nonsense.mp4", b"nonsense")
    put("out/c.mp4", one)

    items = run_import(bucket=Bucket(url=f"s3://{bucket}/in"), tags=["archive"])

    assert [(item.source, item.state, item.reason) for item in items] == [
        ("a.mp4", ItemState.ACCEPTED, None),
        ("deep/b.mp4", ItemState.ACCEPTED, None),
        ("nonsense.mp4", ItemState.REFUSED, "not_a_video"),
    ]
    assert [item.size_bytes for item in items[:2]] == [len(one), len(other)]


def test_a_bucket_that_is_not_there_is_said(run_import, sessions):
    assert run_import(bucket=Bucket(url="s3://no-such-bucket/in")) == []

    job = job_of(sessions)
    assert (job.state, job.reason) == (JobState.QUEUED, "store_not_reached")


def test_keys_of_the_settings_are_not_sent_to_another_endpoint(
    run_import, sessions, server, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-environment")

    run_import(bucket=Bucket(url="s3://bucket/in", endpoint=server.url))

    assert server.seen
    for _method, path, headers, _body in server.seen:
        assert "authorization" not in {name.lower() for name in headers}
        assert "of-the-environment" not in path + str(headers)
    assert job_of(sessions).reason == "store_not_reached"


def test_a_store_that_says_nothing_is_left(run_import, sessions, server):
    """After `import_idle_s`, not after the hours that a large file may take."""
    server.routes |= dict.fromkeys(("/bucket", "/bucket/"), silent(for_s=600))

    run_import(bucket=Bucket(url="s3://bucket/in", endpoint=server.url))

    assert server.seen
    assert job_of(sessions).reason == "store_not_reached"
