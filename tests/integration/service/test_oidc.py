"""Bearer tokens of an OpenID Connect provider that really runs."""

import base64
import hmac
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from joserfc.jwk import RSAKey

from service.access import Scope
from service.access.oidc import KEPT_S, LOOK_AGAIN_S, TokenReader, Trust, open_reader
from service.errors import UnauthenticatedError, UnavailableError
from service.settings import Settings
from tests.identity_provider import AUDIENCE, running_identity_provider


@pytest.fixture
def provider():
    with running_identity_provider() as provider:
        yield provider


@pytest.fixture
def clock():
    """The time that a reader sees; tests move it."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def reader(provider, clock):
    trust = Trust(
        issuer=provider.issuer,
        audience=AUDIENCE,
        scope_claim="scope",
        scope_prefix="reelseek:",
    )
    return TokenReader(trust, clock=clock)


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_gives_the_scopes_that_its_claim_names(provider, reader):
    token = provider.token(scope="openid reelseek:search reelseek:read reelseek:root admin")
    principal = reader.authenticate(token)

    assert reader.is_one(token)
    assert principal.scopes == {Scope.SEARCH, Scope.READ}
    assert principal.key_id.startswith("oidc:")
    assert len(principal.key_id) <= 64
    assert reader.authenticate(provider.token(sub="bob")).key_id != principal.key_id
    assert reader.authenticate(provider.token(aud=["other", AUDIENCE])).may(Scope.SEARCH)


@pytest.mark.parametrize("scope", [None, "", "openid", 7, {"reelseek:admin": True}, [["admin"]]])
def test_a_token_without_our_scopes_may_do_nothing(provider, reader, scope):
    assert reader.authenticate(provider.token(scope=scope)).scopes == frozenset()


def test_scopes_may_be_roles_deep_in_the_token(provider):
    trust = Trust(
        issuer=provider.issuer,
        audience=AUDIENCE,
        scope_claim="realm_access.roles",
        scope_prefix="video-",
    )
    token = provider.token(realm_access={"roles": ["video-admin", "offline_access"]})

    assert TokenReader(trust).authenticate(token).scopes == {Scope.ADMIN}
    assert TokenReader(trust).authenticate(provider.token(realm_access=3)).scopes == frozenset()


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "http://evil.example"},
        {"iss": None},
        {"aud": "another-service"},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 4_000_000_000},
    ],
    ids=["iss", "no_iss", "aud", "no_aud", "no_sub", "no_exp", "bad_exp", "too_soon"],
)
def test_a_token_that_is_not_for_us_is_refused(provider, reader, changed):
    with pytest.raises(UnauthenticatedError) as refusal:
        reader.authenticate(provider.token(**changed))
    assert refusal.value.reason == "bad_token"


def test_a_token_that_is_over_says_so(provider, reader):
    with pytest.raises(UnauthenticatedError) as refusal:
        reader.authenticate(provider.token(exp=int(time.time()) - 60))
    assert refusal.value.reason == "token_expired"


def test_tokens_that_nobody_signed_are_refused(provider, reader):
    good = provider.token()
    header, payload, signature = good.split(".")
    forged = encoded(provider.claims(scope="reelseek:admin"))
    unsigned = encoded({"alg": "none", "kid": provider.key.kid})
    by_secret = f"{encoded({'alg': 'HS256', 'kid': provider.key.kid})}.{forged}"
    our_public_key = provider.key.as_pem(private=False)
    mac = hmac.digest(our_public_key, by_secret.encode(), "sha256")
    elsewhere = encoded({"alg": "RS256", "kid": "x", "jku": f"{provider.issuer}/evil"})
    another = RSAKey.generate_key(2048, {"kid": provider.key.kid})
    for token in (
        f"{header}.{forged}.{signature}",
        f"{unsigned}.{forged}.",
        f"{unsigned}.{forged}.{signature}",
        f"{by_secret}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        f"{elsewhere}.{forged}.{signature}",
        provider.token(key=another),
        f"{header}.{payload}.",
        "eyJ..",
        "eyJ.eyJ.eyJ",
        f"{good}.x.y",
        "eyJ" + "A" * 20_000 + ".a.b",
    ):
        with pytest.raises(UnauthenticatedError):
            reader.authenticate(token)
    assert "/realm/evil" not in provider.asked


def test_keys_are_fetched_once_and_again_for_a_key_that_is_new(provider, reader, clock):
    for _ in range(3):
        reader.authenticate(provider.token())
    assert len(provider.asked) == 2

    provider.rotate()
    with pytest.raises(UnauthenticatedError):  # too soon: tokens must not make us ask and ask
        reader.authenticate(provider.token())
    assert len(provider.asked) == 2
    clock.now += LOOK_AGAIN_S
    reader.authenticate(provider.token())
    assert len(provider.asked) == 4


def test_keys_that_are_known_serve_while_the_provider_is_away(provider, reader, clock):
    token = provider.token()
    provider.is_up = False
    with pytest.raises(UnavailableError) as refusal:
        reader.authenticate(token)
    assert refusal.value.reason == "identity_provider_unavailable"
    provider.is_up = True
    clock.now += LOOK_AGAIN_S
    reader.authenticate(token)
    provider.is_up = False
    clock.now += KEPT_S

    assert reader.authenticate(token).may(Scope.SEARCH)


def test_a_provider_that_is_slow_holds_up_one_request_only(provider, reader, clock):
    token = provider.token()
    reader.authenticate(token)
    clock.now += KEPT_S + 1
    asked, may_answer, documents = threading.Event(), threading.Event(), provider.documents

    def answer_late():
        asked.set()
        may_answer.wait(20)
        return documents()

    provider.documents = answer_late
    with ThreadPoolExecutor() as threads:
        first = threads.submit(reader.authenticate, token)
        assert asked.wait(20)

        assert reader.authenticate(token).may(Scope.SEARCH)

        assert not first.done()
        may_answer.set()
        assert first.result().may(Scope.SEARCH)


def test_a_provider_that_names_another_issuer_is_not_believed(provider, reader):
    provider.named_issuer = "http://evil.example"
    with pytest.raises(UnavailableError):
        reader.authenticate(provider.token())


def test_the_settings_must_name_an_audience_and_a_guarded_address():
    assert open_reader(Settings()) is None
    with pytest.raises(ValueError, match="REELSEEK_OIDC_AUDIENCE"):
        open_reader(Settings(oidc_issuer="https://id.example"))
    with pytest.raises(ValueError, match="https://"):
        open_reader(Settings(oidc_issuer="http://id.example", oidc_audience="x"))
    assert open_reader(Settings(oidc_issuer="https://id.example", oidc_audience="x")) is not None
