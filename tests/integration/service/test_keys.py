"""Keys that expire, are rotated, have limits, and leave a trace in the audit log."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from service import access, audit_log
from service.access import Limits
from service.api.key_use import KeyUse
from service.audit_log import Actor
from service.catalog.door_tables import ApiKey, AuditEvent
from service.catalog.tables import utc_now
from service.errors import (
    BadRequestError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)

ACTOR = Actor(id="somebody", address="192.0.2.7", request_id="r-1")
CURSOR_KEY = b"0123456789abcdef"


@pytest.fixture
def authenticate(sessions, settings):
    def authenticate(secret):
        with sessions() as session:
            return access.authenticate(session, secret, settings=settings)

    return authenticate


@pytest.fixture
def made(sessions):
    return access.make_key(
        sessions,
        name="camera",
        scopes=["write"],
        expires_in_s=3600,
        limits=Limits(searches_per_minute=7),
        actor=ACTOR,
    )


def let_end(sessions, key_id):
    with sessions.begin() as session:
        ended = utc_now() - timedelta(seconds=1)
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(expires_at=ended))


def test_a_key_that_has_expired_is_refused_and_says_so(sessions, made, authenticate):
    assert authenticate(made.secret).limits.searches_per_minute == 7
    let_end(sessions, made.key.id)

    with pytest.raises(UnauthenticatedError) as refusal:
        authenticate(made.secret)
    assert refusal.value.reason == "key_expired"


@pytest.mark.parametrize("seconds", [0, -1, 10**12])
def test_a_key_ends_in_the_future_within_reason(sessions, seconds):
    with pytest.raises(InvalidInputError):
        access.make_key(sessions, name="x", scopes=["read"], expires_in_s=seconds)


def test_rotating_gives_a_key_that_may_the_same_and_lets_the_old_one_end(
    sessions, made, authenticate
):
    new = access.rotate_key(sessions, made.key.id, grace_s=60, actor=ACTOR)

    old, successor = authenticate(made.secret), authenticate(new.secret)
    assert (successor.scopes, successor.limits) == (old.scopes, old.limits)
    assert new.secret != made.secret
    with sessions() as session:
        row = session.get(ApiKey, made.key.id)
        assert row.rotated_to == new.key.id
        assert row.expires_at <= utc_now() + timedelta(seconds=60)
        renewed = session.get(ApiKey, new.key.id)
        assert timedelta(seconds=3500) < renewed.expires_at - utc_now() < timedelta(seconds=3700)
    with pytest.raises(ConflictError) as refusal:
        access.rotate_key(sessions, made.key.id, grace_s=60)
    assert refusal.value.reason == "already_rotated"


def test_rotating_without_grace_ends_the_old_key_at_once(sessions, made, authenticate):
    access.rotate_key(sessions, made.key.id, grace_s=0)
    with pytest.raises(UnauthenticatedError):
        authenticate(made.secret)


def test_what_cannot_be_rotated_is_told(sessions, made):
    with pytest.raises(InvalidInputError):
        access.rotate_key(sessions, made.key.id, grace_s=-1)
    with pytest.raises(NotFoundError):
        access.rotate_key(sessions, uuid4(), grace_s=0)
    let_end(sessions, made.key.id)
    with pytest.raises(ConflictError):
        access.rotate_key(sessions, made.key.id, grace_s=0)
    access.revoke_key(sessions, made.key.id)
    with pytest.raises(NotFoundError):
        access.rotate_key(sessions, made.key.id, grace_s=0)


def test_of_two_that_rotate_a_key_at_once_one_does(sessions, made):
    outcomes = []

    def rotate():
        try:
            outcomes.append(access.rotate_key(sessions, made.key.id, grace_s=60).key.id)
        except ConflictError:
            outcomes.append(None)

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes.count(None) == 3
    with sessions() as session:
        assert len(access.list_keys(session)) == 2


def test_each_change_of_a_key_is_in_the_audit_log_without_its_secret(sessions, made):
    new = access.rotate_key(sessions, made.key.id, grace_s=60, actor=ACTOR)
    access.revoke_key(sessions, made.key.id, actor=ACTOR)
    with sessions() as session:
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.at)).all()

    assert [event.action for event in events] == ["create_key", "rotate_key", "revoke_key"]
    assert {event.subject for event in events} == {str(made.key.id)}
    assert {(event.actor, event.address, event.request_id) for event in events} == {
        ("somebody", "192.0.2.7", "r-1")
    }
    assert events[0].detail["scopes"] == ["write"]
    assert events[1].detail["rotated_to"] == str(new.key.id)
    assert made.secret not in str([vars(event) for event in events])


def test_what_fails_leaves_nothing_in_the_audit_log(sessions):
    with pytest.raises(NotFoundError):
        access.revoke_key(sessions, uuid4(), actor=ACTOR)
    with sessions() as session:
        assert session.scalars(select(AuditEvent)).all() == []


def test_the_audit_log_is_read_in_pages_that_nobody_makes_up(sessions):
    with sessions.begin() as session:
        for number in range(5):
            audit_log.record(session, ACTOR, "log_in" if number % 2 else "x", subject=str(number))
    with sessions() as session:
        first = audit_log.list_events(session, secret=CURSOR_KEY, limit=3)
        rest = audit_log.list_events(session, secret=CURSOR_KEY, limit=3, cursor=first.next_cursor)
        logins = audit_log.list_events(session, secret=CURSOR_KEY, limit=9, action="log_in")
        assert audit_log.list_events(session, secret=CURSOR_KEY, limit=9, actor="no").events == []
        with pytest.raises(BadRequestError):
            audit_log.list_events(session, secret=b"other", limit=3, cursor=first.next_cursor)

    subjects = [event.subject for event in [*first.events, *rest.events]]
    assert subjects == ["4", "3", "2", "1", "0"]
    assert rest.next_cursor is None
    assert [event.subject for event in logins.events] == ["3", "1"]


def test_the_last_use_of_keys_is_written_together_and_never_goes_back(sessions, made):
    use = KeyUse(sessions)
    use.note(made.key.id)
    use.note(None)
    use.write()
    with sessions() as session:
        last_used_at = session.get(ApiKey, made.key.id).last_used_at
    assert utc_now() - last_used_at < timedelta(minutes=5)
    access.note_use(sessions, [made.key.id], last_used_at - timedelta(days=1))
    use.stop()

    with sessions() as session:
        assert session.get(ApiKey, made.key.id).last_used_at == last_used_at
