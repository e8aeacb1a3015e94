"""Webhooks are told of what was committed, signed, again when they fail, and never inside."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from service.catalog import delivery_queries, webhook_queries, webhook_rest_queries
from service.catalog.clock import database_time
from service.catalog.ingest_queries import delete_video
from service.catalog.job_queries import claim_job, fail_job, fail_poisoned_jobs
from service.catalog.message_queries import due_jobs
from service.catalog.process_queries import read_queues
from service.catalog.session import in_transaction
from service.catalog.tables import Job, JobKind, JobState, utc_now
from service.catalog.webhook_queries import Event, announce
from service.catalog.webhook_rest_queries import take_turn
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery
from service.outbound import Policy
from service.webhooks import managing
from service.webhooks.managing import Changes
from tests import factories
from tests.hostile_servers import content, redirect, running_server, trickle
from workers import delivering
from workers.delivering import WAITS_S, deliver, wait_before_next, wake
from workers.resources import Resources
from workers.runner import run_job

LOCAL = Policy.of(allow="127.0.0.1", ports="80")
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"outbound_allow": "127.0.0.1", "webhook_timeout_s": 60.0})


@pytest.fixture
def rests_s(monkeypatch):
    """No wait and no rest ends by itself, however slow the machine is; these are the rests."""
    rests_s = (600.0, 1200.0, 1800.0)
    monkeypatch.setattr(delivering, "WAITS_S", (600.0,) * len(WAITS_S))
    monkeypatch.setattr(webhook_rest_queries, "RESTS_S", rests_s)
    return rests_s


@pytest.fixture
def resources(settings):
    with Resources(settings) as resources:
        yield resources


@pytest.fixture
def server():
    with running_server({"/hook": content(b"")}) as server:
        yield server


@pytest.fixture
def add_webhook(sessions, server):
    def add(*events, path="/hook"):
        return managing.create_webhook(
            sessions, LOCAL, url=server.url + path, events=events or ["*"], created_by="tests"
        )

    return add


@pytest.fixture
def told(sessions, resources, add_webhook):
    """Tell one webhook of one event, once."""

    def told():
        add_webhook()
        tell(sessions)
        deliver_all(sessions, resources)
        return sessions

    return told


def tell(sessions, event=Event.VIDEO_READY, **data):
    in_transaction(sessions, lambda session: announce(session, event, data))


def jobs_of(sessions):
    with sessions() as session:
        found = select(Job).where(Job.kind == JobKind.DELIVER).order_by(Job.created_at)
        return session.scalars(found).all()


def deliveries_of(sessions):
    with sessions() as session:
        found = select(WebhookDelivery).order_by(WebhookDelivery.created_at)
        return session.scalars(found).all()


def deliver_all(sessions, resources):
    """Try whatever waits, without waiting for its time, or for webhooks to rest."""
    end_waits(sessions)
    for job in jobs_of(sessions):
        run_job(job.id, deliver, resources)


def end_waits(sessions):
    def work(session):
        session.execute(update(Job).values(not_before=None))
        is_resting = Webhook.rests_until.is_not(None)
        session.execute(update(Webhook).where(is_resting).values(rests_until=database_time(-1)))

    in_transaction(sessions, work)


def is_signed(headers, body, secret):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return expected in headers["webhook-signature"].split()


def test_a_webhook_is_told_and_can_check_who_told_it(sessions, resources, server, add_webhook):
    made = add_webhook("video.ready")
    tell(sessions, video_id="x")

    deliver_all(sessions, resources)
    deliver_all(sessions, resources)

    ((method, path, headers, body),) = server.seen
    assert (method, path, headers["Content-Type"]) == ("POST", "/hook", "application/json")
    (delivery,) = deliveries_of(sessions)
    assert json.loads(body) == delivery.payload
    assert json.loads(body) | {"timestamp": None} == {
        "type": "video.ready",
        "timestamp": None,
        "data": {"video_id": "x"},
    }
    assert is_signed(headers, body, made.secret)
    assert not is_signed(headers, body + b" ", made.secret)
    assert headers["webhook-id"] == f"msg_{delivery.id.hex}"
    assert (delivery.state, delivery.tries, delivery.status) == (DeliveryState.DELIVERED, 1, 200)
    assert jobs_of(sessions)[0].state is JobState.DONE


def test_only_those_who_want_it_are_told_and_only_what_was_committed(sessions, add_webhook):
    wanting = {add_webhook().webhook.id, add_webhook("video.ready", "video.failed").webhook.id}
    add_webhook("tuning.finished")
    disabled = add_webhook("video.ready").webhook.id
    managing.change_webhook(sessions, LOCAL, disabled, Changes(is_enabled=False))
    tell(sessions)

    with sessions() as session:
        announce(session, Event.VIDEO_READY, {})
        session.rollback()

    assert {one.webhook_id for one in deliveries_of(sessions)} == wanting
    assert len(jobs_of(sessions)) == len(wanting)


@SQLITE
@pytest.mark.usefixtures("rests_s")
def test_what_failed_is_tried_again_later_as_the_same_message(
    sessions, resources, server, add_webhook
):
    made = add_webhook()
    server.routes["/hook"] = lambda exchange: exchange.send(500)
    tell(sessions)

    (job,) = jobs_of(sessions)
    run_job(job.id, deliver, resources)
    run_job(job.id, deliver, resources)  # not due yet

    (job,) = jobs_of(sessions)
    (delivery,) = deliveries_of(sessions)
    assert (job.state, job.attempts, job.sent_at) == (JobState.QUEUED, 0, None)
    assert job.not_before is not None
    assert (delivery.state, delivery.tries, delivery.status) == (DeliveryState.WAITING, 1, 500)
    assert len(server.seen) == 1

    server.routes["/hook"] = content(b"ok")
    deliver_all(sessions, resources)

    first, second = server.seen
    assert first[2]["webhook-id"] == second[2]["webhook-id"]
    assert first[3] == second[3]
    assert is_signed(second[2], second[3], made.secret)
    assert deliveries_of(sessions)[0].state is DeliveryState.DELIVERED


@SQLITE
@pytest.mark.parametrize(
    ("route", "outcome"),
    [
        (lambda exchange: exchange.send(404), (404, "It answered 404.")),
        (redirect("/other", 307), (307, "It answered 307.")),
        (trickle(), (200, None)),
    ],
    ids=["refused", "redirected", "endless"],
)
def test_what_comes_back_counts_by_its_status(told, server, route, outcome):
    server.routes |= {"/hook": route, "/other": content(b"")}

    sessions = told()

    (delivery,) = deliveries_of(sessions)
    assert (delivery.status, delivery.detail) == outcome
    assert [path for _, path, _, _ in server.seen] == ["/hook"]


@SQLITE
def test_a_message_is_given_up_after_all_of_its_tries(sessions, resources, server, add_webhook):
    add_webhook()
    server.routes["/hook"] = lambda exchange: exchange.send(503, headers={"Retry-After": "7200"})
    tell(sessions)

    for _ in range(len(WAITS_S) + 3):
        deliver_all(sessions, resources)

    (delivery,) = deliveries_of(sessions)
    assert (delivery.state, delivery.tries) == (DeliveryState.GIVEN_UP, len(WAITS_S) + 1)
    assert jobs_of(sessions)[0].state is JobState.DONE
    assert len(server.seen) == len(WAITS_S) + 1


def test_waits_grow_and_the_other_side_may_ask_for_longer():
    assert [round(wait_before_next(n, None) / wait_s) for n, wait_s in enumerate(WAITS_S)] == (
        [1] * len(WAITS_S)
    )
    assert wait_before_next(0, 300) == 300
    assert wait_before_next(0, 10**9) == WAITS_S[-1]


@SQLITE
def test_who_is_gone_is_told_nothing_more(sessions, resources, server, add_webhook):
    made = add_webhook()
    server.routes["/hook"] = lambda exchange: exchange.send(410)
    tell(sessions)
    tell(sessions)

    deliver_all(sessions, resources)
    tell(sessions)

    with sessions() as session:
        webhook = session.get_one(Webhook, made.webhook.id)
    assert (webhook.is_enabled, webhook.disabled_reason) == (False, "It answered 410 Gone.")
    assert {one.state for one in deliveries_of(sessions)} == {DeliveryState.GIVEN_UP}
    assert (len(server.seen), len(deliveries_of(sessions))) == (1, 2)


@SQLITE
def test_no_message_goes_inside(sessions, settings, server, add_webhook):
    """The address was allowed when the webhook was made, or its name leads inside since."""
    add_webhook()
    tell(sessions)
    closed = settings.model_copy(update={"outbound_allow": ""})
    with Resources(closed) as resources:
        deliver_all(sessions, resources)

    (delivery,) = deliveries_of(sessions)
    assert server.seen == []
    assert delivery.status is None
    assert "not public" in delivery.detail


@SQLITE
def test_two_secrets_sign_while_one_takes_the_place_of_the_other(
    sessions, resources, server, add_webhook
):
    made = add_webhook()
    new = managing.rotate_secret(sessions, made.webhook.id, overlap_s=3600)
    tell(sessions)
    deliver_all(sessions, resources)
    last = managing.rotate_secret(sessions, made.webhook.id, overlap_s=0)
    tell(sessions)
    deliver_all(sessions, resources)

    (_, _, first, body), (_, _, second, other_body) = server.seen
    assert is_signed(first, body, made.secret)
    assert is_signed(first, body, new.secret)
    assert is_signed(second, other_body, last.secret)
    assert not is_signed(second, other_body, new.secret)


def test_videos_tell_of_themselves(sessions, storage, upload, add_webhook):
    add_webhook()
    ready, partial, failed = (upload() for _ in range(3))
    factories.ingest(sessions, storage, ready.job_id)
    factories.ingest(sessions, storage, partial.job_id, is_partial=True, reason="truncated")
    job = in_transaction(sessions, lambda s: claim_job(s, failed.job_id, lease_s=60))
    in_transaction(
        sessions, lambda s: fail_job(s, job.id, job.fence, reason="not_a_video", detail="No.")
    )
    in_transaction(sessions, lambda s: delete_video(s, ready.video_id))

    told = [
        (one.event, one.payload["data"]["video_id"], one.payload["data"].get("reason"))
        for one in deliveries_of(sessions)
    ]
    assert told == [
        ("video.ready", str(ready.video_id), None),
        ("video.partial", str(partial.video_id), "truncated"),
        ("video.failed", str(failed.video_id), "not_a_video"),
        ("video.deleted", str(ready.video_id), None),
    ]


def test_couriers_are_woken_once_for_what_is_due(sessions, resources, add_webhook):
    add_webhook()
    tell(sessions)
    tell(sessions)
    last = jobs_of(sessions)[-1]
    in_transaction(
        sessions,
        lambda s: s.execute(
            update(Job).where(Job.id == last.id).values(not_before=database_time(600))
        ),
    )

    assert [wake(resources), wake(resources)] == [1, 0]


def webhook_of(sessions, made):
    with sessions() as session:
        return session.get_one(Webhook, made.webhook.id)


def delete_webhook(sessions, made):
    in_transaction(sessions, lambda s: webhook_queries.delete_webhook(s, made.webhook.id))


def away(exchange):
    exchange.send(503)


def test_a_webhook_that_is_away_holds_up_no_other(
    *, sessions, resources, server, add_webhook, rests_s
):
    """One message shows that it is away; then one is tried after each rest, ever longer."""
    server.routes |= {"/away": away, "/hook": content(b"")}
    dead = add_webhook(path="/away")
    for _ in range(5):
        tell(sessions)
    add_webhook()
    tell(sessions)

    for job in jobs_of(sessions):
        run_job(job.id, deliver, resources)

    assert sorted(path for _, path, _, _ in server.seen) == ["/away", "/hook"]
    told = deliveries_of(sessions)
    assert [one.tries for one in told if one.webhook_id == dead.webhook.id] == [1, 0, 0, 0, 0, 0]
    first = webhook_of(sessions, dead)
    assert (first.failures, first.is_enabled) == (1, True)
    assert wake(resources) == 0  # it rests

    end_waits(sessions)
    assert wake(resources) == 1
    for job in jobs_of(sessions):
        if job.sent_at is not None:
            run_job(job.id, deliver, resources)

    second = webhook_of(sessions, dead)
    assert len(server.seen) == 3
    assert (second.failures, second.failing_since) == (2, first.failing_since)
    assert [one.tries for one in deliveries_of(sessions)[:5]] == [1, 1, 0, 0, 0]  # untried first
    rests = [one.rests_until - utc_now() for one in (first, second)]
    assert rests[0] < timedelta(seconds=rests_s[0]) < rests[1] < timedelta(seconds=rests_s[1] + 1)


@pytest.mark.usefixtures("rests_s")
def test_all_that_waited_comes_when_a_webhook_is_back(sessions, resources, server, add_webhook):
    """What was tried and found it away, too; what was refused waits for its own time."""
    server.routes["/hook"] = lambda exchange: exchange.send(500)
    made = add_webhook()
    tell(sessions)
    run_job(jobs_of(sessions)[0].id, deliver, resources)
    server.routes["/hook"] = away
    for _ in range(4):
        tell(sessions)
    for job in jobs_of(sessions):
        run_job(job.id, deliver, resources)
    server.routes["/hook"] = content(b"")
    server.seen.clear()
    in_transaction(sessions, lambda s: s.execute(update(Webhook).values(rests_until=None)))
    assert deliveries_of(sessions)[1].tries == 1
    last = jobs_of(sessions)[-1]
    in_transaction(
        sessions,
        lambda s: s.execute(update(Job).where(Job.id == last.id).values(not_before=None)),
    )

    run_job(last.id, deliver, resources)

    webhook = webhook_of(sessions, made)
    assert (webhook.failures, webhook.failing_since, webhook.rests_until) == (0, None, None)
    assert wake(resources) == 3
    for job in jobs_of(sessions):
        run_job(job.id, deliver, resources)
    refused, *others = deliveries_of(sessions)
    assert {one.state for one in others} == {DeliveryState.DELIVERED}
    assert (refused.state, refused.tries) == (DeliveryState.WAITING, 1)
    assert len(server.seen) == 4


def test_a_message_that_fails_by_itself_keeps_its_time(sessions, resources, server, add_webhook):
    """Whatever else is taken meanwhile: else its tries would be used up within minutes."""
    server.routes["/hook"] = away
    add_webhook()
    tell(sessions)
    for _ in range(3):
        deliver_all(sessions, resources)
    bad = jobs_of(sessions)[0]
    assert bad.not_before is not None
    server.routes["/hook"] = content(b"")
    tell(sessions)
    in_transaction(
        sessions,
        lambda s: s.execute(update(Webhook).values(failures=1, rests_until=database_time(-1))),
    )

    run_job(jobs_of(sessions)[-1].id, deliver, resources)

    assert deliveries_of(sessions)[-1].state is DeliveryState.DELIVERED
    assert jobs_of(sessions)[0].not_before == bad.not_before


@pytest.mark.usefixtures("rests_s")
def test_a_webhook_that_fails_at_some_messages_gets_all_others(
    sessions, resources, server, add_webhook
):
    """500 is a fault of the receiver, quickly told: nobody has to wait for it."""
    server.routes["/hook"] = lambda exchange: exchange.send(500)
    made = add_webhook()
    tell(sessions)
    run_job(jobs_of(sessions)[0].id, deliver, resources)

    assert webhook_of(sessions, made).failures == 0
    server.routes["/hook"] = content(b"")
    tell(sessions)
    assert wake(resources) == 1


@SQLITE
def test_failures_that_are_days_apart_disable_nothing(sessions, resources, server, add_webhook):
    server.routes["/hook"] = away
    made = add_webhook()
    tell(sessions)
    deliver_all(sessions, resources)
    days_ago = {"failing_since": utc_now() - timedelta(days=4), "failures": 9}
    days_ago["rests_until"] = utc_now() - timedelta(days=2)
    in_transaction(sessions, lambda s: s.execute(update(Webhook).values(**days_ago)))
    in_transaction(sessions, lambda s: s.execute(update(Job).values(not_before=None)))

    run_job(jobs_of(sessions)[0].id, deliver, resources)

    webhook = webhook_of(sessions, made)
    assert (webhook.is_enabled, webhook.failures) == (True, 1)
    assert utc_now() - webhook.failing_since < timedelta(minutes=1)


@pytest.mark.parametrize("status", [503, 410, 200])
def test_what_an_old_address_answers_is_not_blamed_on_the_new_one(
    sessions, resources, server, add_webhook, status
):
    made = add_webhook()
    new = Changes(url=f"{server.url}/other")

    def answer(exchange):
        managing.change_webhook(sessions, LOCAL, made.webhook.id, new)
        if status == 200:  # the new one failed meanwhile
            in_transaction(sessions, lambda s: s.execute(update(Webhook).values(failures=2)))
        exchange.send(status)

    server.routes["/hook"] = answer
    in_transaction(sessions, lambda s: s.execute(update(Webhook).values(failures=1)))
    tell(sessions)

    run_job(jobs_of(sessions)[0].id, deliver, resources)

    webhook = webhook_of(sessions, made)
    assert (webhook.is_enabled, webhook.failures) == (True, 2 if status == 200 else 0)
    assert len(server.seen) == 1
    state = deliveries_of(sessions)[0].state
    assert state is (DeliveryState.DELIVERED if status == 200 else DeliveryState.WAITING)


def test_a_rest_from_before_the_clock_was_set_back_is_over(sessions, add_webhook):
    made = add_webhook()
    tell(sessions)

    def rest_for(seconds):
        values = {"failures": 1, "rests_until": utc_now() + timedelta(seconds=seconds)}
        in_transaction(sessions, lambda s: s.execute(update(Webhook).values(**values)))
        return in_transaction(sessions, lambda s: take_turn(s, made.webhook.id, for_s=1))

    assert [rest_for(3000), rest_for(86400)] == [False, True]


def test_what_waits_for_a_webhook_that_is_away_is_held(sessions, resources, server, add_webhook):
    """It is no sign of too few couriers."""
    server.routes["/hook"] = away
    add_webhook()
    tell(sessions)
    tell(sessions)
    with sessions() as session:
        assert read_queues(session)[JobKind.DELIVER].queued == 2

    run_job(jobs_of(sessions)[0].id, deliver, resources)

    with sessions() as session:
        waiting = read_queues(session)[JobKind.DELIVER]
    assert (waiting.queued, waiting.held, waiting.age_s) == (0, 2, 0.0)


@SQLITE
def test_a_message_that_is_refused_is_no_reason_to_rest(sessions, resources, server, add_webhook):
    server.routes["/hook"] = lambda exchange: exchange.send(404)
    made = add_webhook()
    tell(sessions)
    tell(sessions)

    for job in jobs_of(sessions):
        run_job(job.id, deliver, resources)

    assert len(server.seen) == 2
    assert webhook_of(sessions, made).failures == 0


@SQLITE
def test_a_rest_is_as_long_as_the_webhook_asks_for(sessions, resources, server, add_webhook):
    server.routes["/hook"] = lambda exchange: exchange.send(429, headers={"Retry-After": "600"})
    made = add_webhook()
    tell(sessions)

    run_job(jobs_of(sessions)[0].id, deliver, resources)

    rest = webhook_of(sessions, made).rests_until - utc_now()
    assert timedelta(seconds=590) < rest <= timedelta(seconds=600)


@SQLITE
def test_a_webhook_that_takes_nothing_for_days_is_disabled(
    sessions, resources, server, add_webhook
):
    server.routes["/hook"] = away
    made = add_webhook()
    tell(sessions)
    tell(sessions)
    deliver_all(sessions, resources)
    long_ago = utc_now() - timedelta(days=4)
    in_transaction(sessions, lambda s: s.execute(update(Webhook).values(failing_since=long_ago)))

    deliver_all(sessions, resources)
    deliver_all(sessions, resources)

    webhook = webhook_of(sessions, made)
    assert (webhook.is_enabled, webhook.disabled_reason) == (False, "It took nothing for 3 days.")
    assert {one.state for one in deliveries_of(sessions)} == {DeliveryState.GIVEN_UP}
    managing.change_webhook(sessions, LOCAL, made.webhook.id, Changes(is_enabled=True))
    webhook = webhook_of(sessions, made)
    assert (webhook.failures, webhook.failing_since, webhook.rests_until) == (0, None, None)


@pytest.mark.usefixtures("rests_s")
def test_a_test_goes_to_a_webhook_that_rests_before_all_that_waits(
    sessions, resources, server, add_webhook
):
    server.routes["/hook"] = away
    made = add_webhook()
    for _ in range(3):
        tell(sessions)
    run_job(jobs_of(sessions)[0].id, deliver, resources)
    assert wake(resources) == 0

    tested = managing.send_test(sessions, made.webhook.id)

    assert wake(resources) == 1
    sent = [job.subject_id for job in jobs_of(sessions) if job.sent_at is not None]
    assert sent == [tested.id]


def test_what_is_on_its_way_when_a_webhook_is_deleted_does_not_wait_for_ever(
    sessions, resources, server, add_webhook
):
    made = add_webhook()
    tell(sessions)
    deliver_all(sessions, resources)
    server.routes["/hook"] = lambda exchange: (delete_webhook(sessions, made), away(exchange))
    in_transaction(sessions, lambda s: s.execute(update(Webhook).values(failures=1)))
    tell(sessions)

    run_job(jobs_of(sessions)[-1].id, deliver, resources)

    assert webhook_of(sessions, made).failures == 0
    in_transaction(sessions, lambda s: s.execute(update(Job).values(not_before=None)))
    assert wake(resources) == 1
    run_job(jobs_of(sessions)[-1].id, deliver, resources)
    assert deliveries_of(sessions)[-1].state is DeliveryState.GIVEN_UP


@SQLITE
def test_one_message_at_a_time_shows_whether_a_webhook_is_back(
    sessions, resources, server, add_webhook
):
    made = add_webhook()
    tell(sessions)
    in_transaction(sessions, lambda s: s.execute(update(Webhook).values(failures=1)))

    turns = [
        in_transaction(sessions, lambda s: take_turn(s, made.webhook.id, for_s=60))
        for _ in range(2)
    ]

    assert turns == [True, False]
    run_job(jobs_of(sessions)[0].id, deliver, resources)
    assert server.seen == []


def test_the_sweep_leaves_what_couriers_have_not_sent(sessions, resources, add_webhook):
    add_webhook()
    tell(sessions)

    def due(session):
        return len(due_jobs(session, first_after_s=-5, again_after_s=0))

    assert in_transaction(sessions, due) == 0
    wake(resources)
    assert in_transaction(sessions, due) == 1


def test_a_deleted_webhook_is_not_told_of_what_waits(sessions, resources, server, add_webhook):
    made = add_webhook()
    tell(sessions)
    delete_webhook(sessions, made)

    deliver_all(sessions, resources)

    assert server.seen == []
    assert deliveries_of(sessions)[0].state is DeliveryState.GIVEN_UP
    assert jobs_of(sessions)[0].state is JobState.CANCELLED


def test_a_message_that_kills_its_workers_is_given_up(sessions, add_webhook):
    add_webhook()
    tell(sessions)
    in_transaction(sessions, lambda s: s.execute(update(Job).values(attempts=9)))

    in_transaction(sessions, fail_poisoned_jobs)

    assert deliveries_of(sessions)[0].state is DeliveryState.GIVEN_UP


def test_old_messages_are_forgotten(sessions, resources, add_webhook):
    add_webhook()
    tell(sessions)
    deliver_all(sessions, resources)
    tell(sessions)

    in_transaction(sessions, lambda s: delivery_queries.forget_deliveries(s, older_than_s=-5))

    assert [one.state for one in deliveries_of(sessions)] == [DeliveryState.WAITING]
    assert [job.state for job in jobs_of(sessions)] == [JobState.QUEUED]
