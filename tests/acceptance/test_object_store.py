"""An installation whose files are kept in a bucket."""

from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest

from service.catalog.audit import audit
from service.catalog.tables import JobState
from service.housekeeping import sweep_files, unlink_condemned
from tests import factories
from tests.acceptance.api_server import poll, send_video
from tests.acceptance.test_api_errors import check_problem
from tests.factories_ingest import get_job
from tests.failing_proxy import FailingProxy
from tests.object_store import make_bucket
from workers.ingest import ingest
from workers.resources import Resources
from workers.runner import run_job


@pytest.fixture
def start(make_api, object_store):
    """Start an API that keeps its files in a bucket: `start(media="redirect")`."""
    bucket = make_bucket(object_store)

    def start(**options):
        given = {
            "storage_url": f"s3://{bucket}/reelseek",
            "s3_endpoint": object_store,
            "s3_region": "us-east-1",
            "s3_access_key": "tests",
            "s3_secret_key": "secret-of-the-tests",
            "segment_s": 1.0,
            "segment_every_s": 1.0,
            **options,
        }
        api = make_api(**given)
        api.wait_until_ready()
        return api

    return start


@pytest.fixture
def send(tmp_path):
    """Upload a real video and return the answer: `send(client, seconds)`."""

    def send(client, seconds=2.0):
        path = factories.write_video(tmp_path / f"{seconds}.mp4", duration_s=seconds)
        return send_video(client, path.read_bytes())

    return send


def work(api, upload):
    """Do the job as a worker on another machine would: nothing is in its data folder."""
    elsewhere = api.settings.data_dir.parent / "worker"
    elsewhere.mkdir(exist_ok=True)
    values = api.settings.model_dump() | {
        "data_dir": elsewhere,
        "database_url": api.settings.sqlalchemy_url,
    }
    with Resources(type(api.settings)(**values)) as resources:
        run_job(UUID(upload["job_id"]), ingest, resources)


def violations(api):
    with api.state.reads() as session:
        return audit(session, api.state.storage, grace_s=0)


def found(client, **options):
    answer = client.post("/v1/search", json={"text": "a bar", "limit": 50, **options})
    answer.raise_for_status()
    return answer.json()


def test_videos_are_taken_searched_played_and_deleted(start, send):
    api = start()
    with api.client() as client:
        kept, gone = send(client, 2.0).json(), send(client, 3.0).json()
        for upload in (kept, gone):
            work(api, upload)
        poll(lambda: len(found(client)["moments"]) > 1)
        video = client.get(f"/v1/videos/{kept['id']}").json()
        assert not any((api.settings.data_dir / kind).exists() for kind in ("blobs", "derived"))
        check_media(client, video)
        assert all(
            client.get(moment["thumbnail_url"]).content[:2] == b"\xff\xd8"
            for moment in found(client)["moments"]
        )
        assert violations(api) == []

        client.delete(f"/v1/videos/{gone['id']}").raise_for_status()
        left = {moment["video_id"] for moment in found(client)["moments"]}
        assert left == {kept["id"]}
    sweep_files(api.state.sessions, api.state.storage, grace_s=-1)
    unlink_condemned(api.state.sessions, api.state.storage, -1)
    storage = api.state.storage
    assert [blob.sha256 for blob in storage.stored_blobs()] == [video["sha256"]]
    assert len(list(storage.stored_derived())) == 1
    assert violations(api) == []


def check_media(client, video):
    url = video["links"]["content"]
    whole = client.get(url)
    part = client.get(url, headers={"Range": "bytes=10-19"})
    assert (
        len(whole.content) == video["size_bytes"] == int(client.head(url).headers["content-length"])
    )
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    check_problem(
        client.get(url, headers={"Range": "bytes=99999999-"}), 416, "range_not_satisfiable"
    )


def test_browsers_may_read_from_the_store_itself_for_a_while(start, send):
    api = start(media="redirect", media_link_ttl_s=77)
    with api.client() as client:
        video_id = send(client).json()["id"]
        url = f"/v1/videos/{video_id}/content"
        answer = client.get(url, follow_redirects=False)
        with api.client(key=None) as stranger:
            assert stranger.get(url).status_code == 401
        head = client.head(url, follow_redirects=True)
    assert (head.status_code, head.headers["accept-ranges"]) == (200, "bytes")
    assert int(head.headers["content-length"]) > 0
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "private, no-store"
    address = answer.headers["location"]
    assert parse_qs(urlsplit(address).query)["X-Amz-Expires"] == ["77"]
    assert "secret-of-the-tests" not in address
    part = httpx.get(address, headers={"Range": "bytes=4-7"}, trust_env=False, timeout=60)
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_a_store_that_is_away_is_said_and_nothing_is_lost(start, send, object_store):
    with FailingProxy(object_store).running() as proxy:
        api = start(s3_endpoint=proxy.url)
        with api.client() as client:
            waiting, ready = send(client, 2.0).json(), send(client, 3.0).json()
            work(api, ready)
            poll(lambda: found(client)["moments"])
            proxy.is_down = True
            refused = send(client, 4.0)
            problem = check_problem(refused, 503, "storage_unavailable")
            assert "object store" in problem["detail"]
            assert int(refused.headers["retry-after"]) > 0
            check_problem(
                client.get(f"/v1/videos/{ready['id']}/content"), 503, "storage_unavailable"
            )
            work(api, waiting)
            job = get_job(api.state.sessions, UUID(waiting["job_id"]))
            assert (job.state, job.attempts) == (JobState.QUEUED, 0)
            assert job.reason == "storage_unavailable"
            assert job.not_before is not None
            answer = found(client)  # from rows and vectors alone
            assert answer["moments"]
            assert api.staged_files() == []

            proxy.is_down = False
            assert send(client, 4.0).status_code == 202
            with api.state.sessions.begin() as session:
                session.get_one(type(job), job.id).not_before = None
            work(api, waiting)
            assert get_job(api.state.sessions, job.id).state is JobState.DONE
        assert violations(api) == []


def test_the_page_may_play_from_the_store_only_if_it_is_sent_there(start, object_store):
    for media, sources in (("redirect", f"'self' {object_store}"), ("proxy", "'self'")):
        with start(media=media).client() as client:
            policy = client.get("/").headers["content-security-policy"]
        assert f"media-src {sources};" in policy
