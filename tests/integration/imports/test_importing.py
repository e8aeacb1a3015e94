"""Imports by address and from folders: what is taken, what is refused, and only once."""

import pytest
from sqlalchemy import select, update

from service.catalog import import_queries
from service.catalog.import_queries import Outcome
from service.catalog.import_tables import Import, ItemState
from service.catalog.job_queries import LostLeaseError, claim_job, fail_poisoned_jobs
from service.catalog.session import in_transaction
from service.catalog.tables import Job, JobKind, JobState, Video, VideoTag
from service.catalog.webhook_tables import WebhookDelivery
from service.errors import InvalidInputError, UnavailableError
from service.imports import requesting
from service.imports.requesting import Address, Bucket, cancel_import
from service.outbound import OutboundError, Policy
from service.webhooks import managing
from tests.factories_ingest import get_job
from tests.hostile_servers import content, endless, hang_up, redirect, trickle
from workers.importing import import_videos
from workers.resources import Resources
from workers.runner import run_job

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def video(make_video):
    return make_video(duration_s=1).read_bytes()


def videos_of(sessions):
    with sessions() as session:
        return session.scalars(select(Video).order_by(Video.created_at)).all()


def items_of(sessions, import_id):
    with sessions() as session:
        return import_queries.items_of(session, import_id, after=-1, limit=9)


def states(items):
    return [(item.state, item.reason) for item in items]


def test_addresses_become_videos(run_import, sessions, server, video):
    server.routes["/a/My%20clip.mp4"] = content(video)
    items = run_import(
        Address(
            url=f"{server.url}/a/My%20clip.mp4?token=secret",
            title="Mine",
            tags=["one"],
            fields={"camera": 3},
        ),
        f"{server.url}/a/My%20clip.mp4",
        tags=["all"],
    )

    (made,) = videos_of(sessions)
    assert states(items) == [(ItemState.ACCEPTED, None), (ItemState.DUPLICATE, None)]
    assert {item.video_id for item in items} == {made.id}
    assert items[0].source == f"{server.url}/a/My%20clip.mp4?..."
    assert items[0].size_bytes == len(video)
    assert (made.title, made.file_name, made.fields) == ("Mine", "My clip.mp4", {"camera": 3})
    with sessions() as session:
        assert set(session.scalars(select(VideoTag.tag))) == {"one", "all"}
        kinds = session.scalars(select(Job.kind).order_by(Job.created_at)).all()
    assert kinds == [JobKind.IMPORT, JobKind.INGEST]


@SQLITE
def test_what_cannot_be_taken_is_refused_with_its_reason(run_import, sessions, server, video):
    server.routes |= {
        "/text": content(b"no video at all"),
        "/empty": content(b""),
        "/inside": redirect("http://10.0.0.1/latest/meta-data"),
        "/metadata": redirect("http://169.254.169.254/latest/meta-data"),
        "/file": redirect("file:///etc/passwd"),
        "/playlist": content(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/secret.ts\n"),
        "/endless": endless(),
        "/broken": hang_up,
        "/slow": trickle(0.5),
        "/busy": lambda exchange: exchange.send(503),
        "/good": content(video),
    }
    wanted = {
        "/missing": "http_status",
        "/text": "not_a_video",
        "/empty": "empty_file",
        "/inside": "address_not_allowed",
        "/metadata": "address_not_allowed",
        "/file": "bad_url",
        "/endless": "too_large",
        "/broken": "connection_failed",
        "/busy": "http_status",
    }

    items = run_import(*(server.url + path for path in wanted), f"{server.url}/good")

    assert [item.reason for item in items] == [*wanted.values(), None]
    assert all(item.detail for item in items[:-1])
    assert len(videos_of(sessions)) == 1
    tried = [path for _, path, _, _ in server.seen]
    assert (tried.count("/missing"), tried.count("/busy"), tried.count("/broken")) == (1, 3, 3)


@SQLITE
def test_playlists_are_no_videos_and_nothing_that_they_name_is_fetched(run_import, server):
    names = {
        "/list.m3u8": f"#EXTM3U\n#EXTINF:1,\n{server.url}/secret.ts\n#EXT-X-ENDLIST\n",
        "/list.mp4": f"#EXTM3U\n#EXTINF:1,\n{server.url}/secret.ts\n#EXT-X-ENDLIST\n",
        "/list.ffconcat": f"ffconcat version 1.0\nfile {server.url}/secret.ts\n",
        "/list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "/list.mpd": f'<?xml version="1.0"?><MPD><BaseURL>{server.url}/secret.ts</BaseURL></MPD>',
    }
    server.routes |= {name: content(text.encode()) for name, text in names.items()}

    items = run_import(*(server.url + name for name in names))

    assert {item.state for item in items} == {ItemState.REFUSED}
    assert "/secret.ts" not in {path for _, path, _, _ in server.seen}


@SQLITE
def test_a_server_that_recovers_is_asked_again(run_import, server, video):
    answers = [503, 429, 200]

    def route(exchange):
        status = answers.pop(0)
        exchange.send(status, body=video if status == 200 else b"")

    server.routes["/flaky"] = route

    assert states(run_import(f"{server.url}/flaky")) == [(ItemState.ACCEPTED, None)]


@SQLITE
def test_too_large_is_known_before_the_body_comes(run_import, server, settings):
    announced = {"Content-Length": str(settings.upload_limit_bytes + 1)}
    server.routes["/large"] = content(b"", **announced)

    (item,) = run_import(f"{server.url}/large")

    assert item.reason in {"payload_too_large", "too_large"}
    assert len(server.seen) == 1


@SQLITE
@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"folder": "../etc"}, "bad_folder"),
        ({"folder": "/etc"}, "bad_folder"),
        ({"folder": "a/../../b"}, "bad_folder"),
        ({"folder": "a\0b"}, "bad_folder"),
        ({"bucket": Bucket(url="https://bucket/x")}, "bad_bucket"),
        ({"bucket": Bucket(url="s3://Bucket_x/")}, "bad_bucket"),
        ({"bucket": Bucket(url="s3://169.254.169.254:80/x")}, "bad_bucket"),
        ({"bucket": Bucket(url="s3://bucket/../x")}, "bad_bucket"),
        (
            {"bucket": Bucket(url="s3://bucket/", endpoint="http://169.254.169.254")},
            "endpoint_not_allowed",
        ),
        ({}, "invalid_input"),
    ],
)
def test_what_is_asked_is_checked_at_once(request_import, wanted, reason):
    with pytest.raises(InvalidInputError) as refusal:
        request_import(**wanted)

    assert refusal.value.reason == reason


@SQLITE
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://a.example/x.mp4", "bad_url"),
        ("http://user:pass@a.example/", "bad_url"),
        ("http://10.0.0.1/x.mp4", "address_not_allowed"),
        ("http://[::1]/x.mp4", "address_not_allowed"),
    ],
)
def test_an_address_that_says_it_itself_is_refused_at_once(request_import, url, reason):
    with pytest.raises(InvalidInputError, match=r"urls\.1") as refusal:
        request_import("https://a.example/good.mp4", url)

    assert refusal.value.reason == reason
    assert not isinstance(refusal.value, OutboundError)


def test_an_item_is_settled_once(request_import, sessions, resources, server, video):
    """A worker that lost its job to another one changes nothing, and brings no video."""
    assert resources
    server.routes["/v"] = content(video)
    record = request_import(f"{server.url}/v")
    old = in_transaction(sessions, lambda s: claim_job(s, record.job.id, lease_s=-1))
    run_job(record.job.id, import_videos, resources)

    late = Outcome(state=ItemState.REFUSED, source="x")
    with pytest.raises(LostLeaseError):
        in_transaction(
            sessions, lambda s: import_queries.settle_item(s, old.id, old.fence, 0, late)
        )
    run_job(record.job.id, import_videos, resources)
    assert len(videos_of(sessions)) == 1
    assert len(server.seen) == 1


@SQLITE
def test_a_cancelled_import_fetches_nothing_more(
    request_import, sessions, resources, server, video
):
    def cancel_then_serve(exchange):
        cancel_import(sessions, record.request.id)
        exchange.send(body=video)

    server.routes |= {"/1": content(video), "/2": cancel_then_serve, "/3": content(video)}
    record = request_import(*(f"{server.url}/{number}" for number in (1, 2, 3)))

    run_job(record.job.id, import_videos, resources)

    with sessions() as session:
        items = import_queries.items_of(session, record.request.id, after=-1, limit=9)
    assert states(items) == [
        (ItemState.ACCEPTED, None),
        (ItemState.REFUSED, "cancelled"),
        (ItemState.REFUSED, "cancelled"),
    ]
    assert get_job(sessions, record.job.id).state is JobState.CANCELLED
    assert [path for _, path, _, _ in server.seen] == ["/1", "/2"]
    assert not list(resources.storage.staging.glob("upload-*"))


@SQLITE
def test_imports_that_wait_are_bounded(request_import, monkeypatch):
    monkeypatch.setattr(requesting, "MAX_OPEN", 2)
    request_import(folder=".")
    request_import(folder=".")

    with pytest.raises(UnavailableError) as refusal:
        request_import(folder=".")

    assert refusal.value.reason == "queue_full"
    assert refusal.value.retry_after_s > 0


def test_an_item_that_kills_its_workers_is_refused_and_the_others_come(
    request_import, sessions, resources, server, video
):
    server.routes["/v"] = content(video)
    record = request_import(f"{server.url}/killer?key=1", f"{server.url}/v")
    in_transaction(sessions, lambda s: s.execute(update(Job).values(attempts=3)))

    assert in_transaction(sessions, fail_poisoned_jobs) == []
    run_job(record.job.id, import_videos, resources)

    first, second = items_of(sessions, record.request.id)
    assert (first.state, first.reason) == (ItemState.REFUSED, "worker_lost")
    assert first.source == f"{server.url}/killer?..."
    assert second.state is ItemState.ACCEPTED
    assert get_job(sessions, record.job.id).state is JobState.DONE


@SQLITE
def test_an_item_at_which_the_worker_fails_each_time_is_refused(
    request_import, sessions, resources, server
):
    def stumble(*_):
        raise KeyError("a bug")

    record = request_import(f"{server.url}/a", f"{server.url}/b")

    found = []
    for _ in range(2 * resources.settings.job_attempts):
        run_job(record.job.id, stumble, resources)
        found.append(states(items_of(sessions, record.request.id)))

    waiting, refused = (ItemState.WAITING, None), (ItemState.REFUSED, "internal_error")
    assert found[1:3] == [[waiting, waiting], [refused, waiting]]
    assert found[-1] == [refused, refused]
    run_job(record.job.id, import_videos, resources)
    assert get_job(sessions, record.job.id).state is JobState.DONE


@SQLITE
def test_an_import_that_kills_its_workers_before_it_is_listed_is_given_up(request_import, sessions):
    record = request_import(folder=".")
    in_transaction(sessions, lambda s: s.execute(update(Job).values(attempts=3)))

    (job,) = in_transaction(sessions, fail_poisoned_jobs)

    assert (job.id, job.state, job.reason) == (record.job.id, JobState.FAILED, "worker_lost")


@SQLITE
@pytest.mark.usefixtures("generation")
def test_a_quota_lets_an_import_wait(request_import, sessions, settings, server, video):
    server.routes["/v"] = content(video)
    record = request_import(f"{server.url}/v")
    small = settings.model_copy(update={"quota_upload_bytes_per_day": 10})

    with Resources(small) as resources:
        run_job(record.job.id, import_videos, resources)

    job = get_job(sessions, record.job.id)
    assert (job.state, job.reason, job.attempts) == (JobState.QUEUED, "quota_upload_bytes", 0)
    assert job.not_before is not None
    assert videos_of(sessions) == []


@SQLITE
def test_the_end_of_an_import_is_announced(run_import, sessions, server, video):
    policy = Policy.of(allow="127.0.0.1", ports="80")
    managing.create_webhook(
        sessions, policy, url=server.url, events=["import.finished"], created_by="tests"
    )
    server.routes["/v"] = content(video)
    run_import(f"{server.url}/v", f"{server.url}/missing")

    with sessions() as session:
        (told,) = session.scalars(select(WebhookDelivery)).all()
        (made,) = session.scalars(select(Import)).all()
    assert told.payload["data"] == {
        "import_id": str(made.id),
        "state": "done",
        "items": {"accepted": 1, "refused": 1},
    }
