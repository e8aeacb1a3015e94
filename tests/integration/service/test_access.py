"""Keys, login links and browser sessions."""

import threading

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from service import access
from service.access import Scope
from service.catalog.door_tables import ApiKey, LoginToken
from service.errors import ForbiddenError, InvalidInputError, NotFoundError, UnauthenticatedError


def authenticate(sessions, settings, bearer):
    with sessions() as session:
        return access.authenticate(session, bearer, settings=settings)


def test_a_key_may_do_what_its_scopes_say(sessions, settings):
    made = access.make_key(sessions, name="phone", scopes=["search", "read"])
    principal = authenticate(sessions, settings, made.secret)

    assert made.secret.startswith("rsk_")
    assert principal.key_id == str(made.key.id)
    principal.require(Scope.SEARCH)
    with pytest.raises(ForbiddenError):
        principal.require(Scope.WRITE)


def test_an_admin_may_do_everything(sessions, settings):
    made = access.make_key(sessions, name="boss", scopes=["admin"])
    principal = authenticate(sessions, settings, made.secret)
    assert all(principal.may(scope) for scope in Scope)


def test_a_key_is_nowhere_in_the_database(sessions):
    made = access.make_key(sessions, name="phone", scopes=["read"])
    with sessions() as session:
        (key,) = session.scalars(select(ApiKey))
    assert made.secret not in str(vars(key))
    assert len(key.digest) == 64


@pytest.mark.parametrize("bearer", ["", "rsk_", "rsk_guess", "x" * 100_000, "\udce4\0", "ключ"])
def test_what_is_no_key_is_refused(sessions, settings, bearer):
    access.make_key(sessions, name="phone", scopes=["read"])
    with pytest.raises(UnauthenticatedError):
        authenticate(sessions, settings, bearer)


def test_a_revoked_key_is_refused_at_once(sessions, settings):
    made = access.make_key(sessions, name="phone", scopes=["read"])
    with sessions() as session:
        assert [key.name for key in access.list_keys(session)] == ["phone"]
    access.revoke_key(sessions, made.key.id)

    with pytest.raises(UnauthenticatedError):
        authenticate(sessions, settings, made.secret)
    with pytest.raises(NotFoundError):
        access.revoke_key(sessions, made.key.id)
    with sessions() as session:
        assert access.list_keys(session) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "scopes"),
    [("x", []), ("x", ["fly"]), (" ", ["read"]), ("x" * 101, ["read"]), ("a\nb", ["read"])],
)
def test_a_key_without_a_name_or_scopes_is_not_made(sessions, name, scopes):
    with pytest.raises(InvalidInputError):
        access.make_key(sessions, name=name, scopes=scopes)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_admin_key_of_the_settings_is_accepted(sessions, settings):
    own = settings.model_copy(update={"admin_key": SecretStr("my own key")})
    assert authenticate(sessions, own, "my own key").may(Scope.ADMIN)
    with pytest.raises(UnauthenticatedError):
        authenticate(sessions, own, "my own key ")
    with pytest.raises(UnauthenticatedError):
        authenticate(sessions, settings, "my own key")
    assert access.ensure_admin_key(sessions, own) is None


def test_the_first_start_makes_one_admin_key_and_shows_it_once(sessions, settings):
    start = threading.Barrier(4)
    shown = []

    def begin():
        start.wait()
        shown.append(access.ensure_admin_key(sessions, settings))

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (key,) = [each for each in shown if each is not None]
    assert authenticate(sessions, settings, key).may(Scope.ADMIN)
    assert access.ensure_admin_key(sessions, settings) is None


def test_a_login_link_works_once_even_if_it_is_opened_twice_at_once(sessions):
    token = access.make_login_token(sessions, ttl_s=60)
    start = threading.Barrier(4)
    begun, refused = [], []

    def redeem():
        start.wait()
        try:
            begun.append(access.redeem_login_token(sessions, token, session_ttl_s=60))
        except UnauthenticatedError as error:
            refused.append(error.reason)

    threads = [threading.Thread(target=redeem) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(begun), refused) == (1, ["bad_login_link"] * 3)
    with sessions() as session:
        assert access.authenticate_session(session, begun[0]).may(Scope.ADMIN)


def test_a_session_ends_when_its_browser_logs_out(sessions):
    token = access.make_login_token(sessions, ttl_s=60)
    browser = access.redeem_login_token(sessions, token, session_ttl_s=60)
    access.end_session(sessions, browser)
    with sessions() as session, pytest.raises(UnauthenticatedError):
        access.authenticate_session(session, browser)
    access.end_session(sessions, browser)


def test_links_and_sessions_expire(sessions):
    with pytest.raises(UnauthenticatedError):
        access.redeem_login_token(
            sessions, access.make_login_token(sessions, ttl_s=-1), session_ttl_s=60
        )
    link = access.make_login_token(sessions, ttl_s=60)
    browser = access.redeem_login_token(sessions, link, session_ttl_s=-1)
    with sessions() as session, pytest.raises(UnauthenticatedError):
        access.authenticate_session(session, browser)


def test_a_link_is_no_session_and_a_session_is_no_link(sessions):
    link = access.make_login_token(sessions, ttl_s=60)
    with sessions() as session, pytest.raises(UnauthenticatedError):
        access.authenticate_session(session, link)
    browser = access.redeem_login_token(sessions, link, session_ttl_s=60)
    with pytest.raises(UnauthenticatedError):
        access.redeem_login_token(sessions, browser, session_ttl_s=60)
    with sessions() as session:
        stored = {token.digest for token in session.scalars(select(LoginToken))}
    assert stored.isdisjoint({link, browser})


def test_all_processes_share_a_secret(sessions):
    secret = access.ensure_secret(sessions, "cursors")
    assert access.ensure_secret(sessions, "cursors") == secret
    assert access.ensure_secret(sessions, "other") != secret
    assert len(secret) == 32
