"""Who may come in: keys and their scopes, browser sessions, other sites, other hosts."""

import re
from uuid import uuid4

import httpx
import pytest

from service import access
from tests.acceptance.api_server import ADMIN_KEY
from tests.acceptance.test_api_errors import UNKNOWN, check_problem

PROTECTED = [
    ("GET", "/v1/videos", "read"),
    ("POST", "/v1/videos", "write"),
    ("POST", "/v1/videos/batch", "write"),
    ("POST", "/v1/uploads", "write"),
    ("HEAD", f"/v1/uploads/{UNKNOWN}", "write"),
    ("GET", f"/v1/uploads/{UNKNOWN}", "write"),
    ("PATCH", f"/v1/uploads/{UNKNOWN}", "write"),
    ("DELETE", f"/v1/uploads/{UNKNOWN}", "write"),
    ("GET", f"/v1/videos/{UNKNOWN}", "read"),
    ("PATCH", f"/v1/videos/{UNKNOWN}", "write"),
    ("DELETE", f"/v1/videos/{UNKNOWN}", "write"),
    ("GET", f"/v1/videos/{UNKNOWN}/segments", "read"),
    ("GET", f"/v1/videos/{UNKNOWN}/content", "read search"),
    ("HEAD", f"/v1/videos/{UNKNOWN}/content", "read search"),
    ("GET", f"/v1/videos/{UNKNOWN}/thumbnails/0.jpg", "read search"),
    ("POST", f"/v1/videos/{UNKNOWN}/captions", "write"),
    ("GET", f"/v1/videos/{UNKNOWN}/captions", "read"),
    ("GET", "/v1/captions", "read"),
    ("GET", "/v1/captions/export?format=csv", "read"),
    ("POST", "/v1/captions/import?format=csv", "write"),
    ("DELETE", f"/v1/captions/{UNKNOWN}", "write"),
    ("POST", "/v1/feedback", "search"),
    ("GET", "/v1/feedback", "admin"),
    ("DELETE", f"/v1/feedback/{UNKNOWN}", "admin"),
    ("POST", "/v1/search", "search"),
    ("GET", "/v1/search?text=a", "search"),
    ("POST", "/v1/search/explain", "search"),
    ("POST", "/v1/tunings", "admin"),
    ("GET", "/v1/tunings", "read"),
    ("GET", f"/v1/tunings/{UNKNOWN}", "read"),
    ("GET", f"/v1/tunings/{UNKNOWN}/points", "read"),
    ("GET", f"/v1/tunings/{UNKNOWN}/events", "read"),
    ("POST", f"/v1/tunings/{UNKNOWN}/cancel", "admin"),
    ("POST", "/v1/evaluation-sets", "write"),
    ("POST", "/v1/evaluation-sets/import?name=a&format=csv", "write"),
    ("GET", "/v1/evaluation-sets", "read"),
    ("GET", f"/v1/evaluation-sets/{UNKNOWN}", "read"),
    ("DELETE", f"/v1/evaluation-sets/{UNKNOWN}", "write"),
    ("POST", f"/v1/evaluation-sets/{UNKNOWN}/runs", "write"),
    ("GET", f"/v1/evaluation-sets/{UNKNOWN}/runs", "read"),
    ("GET", f"/v1/evaluation-runs/{UNKNOWN}", "read"),
    ("GET", "/v1/jobs", "read"),
    ("GET", f"/v1/jobs/{UNKNOWN}", "read"),
    ("GET", f"/v1/jobs/{UNKNOWN}/events", "read"),
    ("GET", "/v1/models", "read"),
    ("POST", f"/v1/models/{UNKNOWN}/activate", "admin"),
    ("GET", "/v1/activations", "read"),
    ("GET", f"/v1/activations/{UNKNOWN}", "read"),
    ("POST", f"/v1/activations/{UNKNOWN}/cancel", "admin"),
    ("GET", "/v1/system", "read search"),
    ("GET", "/v1/system/replica", "admin"),
    ("POST", "/v1/imports", "write"),
    ("GET", "/v1/imports", "read"),
    ("GET", f"/v1/imports/{UNKNOWN}", "read"),
    ("GET", f"/v1/imports/{UNKNOWN}/items", "read"),
    ("POST", f"/v1/imports/{UNKNOWN}/cancel", "write"),
    ("GET", "/v1/webhooks", "admin"),
    ("POST", "/v1/webhooks", "admin"),
    ("GET", f"/v1/webhooks/{UNKNOWN}", "admin"),
    ("PATCH", f"/v1/webhooks/{UNKNOWN}", "admin"),
    ("DELETE", f"/v1/webhooks/{UNKNOWN}", "admin"),
    ("POST", f"/v1/webhooks/{UNKNOWN}/rotate", "admin"),
    ("POST", f"/v1/webhooks/{UNKNOWN}/test", "admin"),
    ("GET", f"/v1/webhooks/{UNKNOWN}/deliveries", "admin"),
    ("GET", "/v1/keys", "admin"),
    ("POST", "/v1/keys", "admin"),
    ("DELETE", f"/v1/keys/{UNKNOWN}", "admin"),
    ("POST", f"/v1/keys/{UNKNOWN}/rotate", "admin"),
    ("GET", "/v1/audit-events", "admin"),
]


@pytest.fixture
def make_key(client):
    """Make a key with some scopes."""

    def make_key(*scopes: str) -> dict:
        response = client.post("/v1/keys", json={"name": uuid4().hex, "scopes": scopes})
        assert response.status_code == 201, response.text
        return response.json()

    return make_key


@pytest.fixture
def browser(api):
    """A browser that opened a login link."""
    token = access.make_login_token(api.state.sessions, ttl_s=60)
    with api.client(None, headers={"Origin": api.url}) as browser:
        response = browser.post("/v1/session", json={"token": token})
        assert response.status_code == 200, response.text
        yield browser


def test_every_route_needs_a_key_except_the_few_that_must_not(api, client):
    paths = client.get("/openapi.json").json()["paths"]
    is_open = {"/healthz", "/readyz", "/metrics", "/v1/session"}
    listed = {(method.upper(), path) for path in paths for method in paths[path]}
    covered = {(m, p.split("?")[0].replace(UNKNOWN, "{}")) for m, p, _scope in PROTECTED}
    with api.client(None) as nobody:
        for method, path in listed:
            if path not in is_open:
                plain = path.replace("{ordinal}", "0")
                plain = re.sub(r"\{\w+\}", "{}", plain)
                assert (method, plain) in covered, f"{method} {path} is not in PROTECTED"
        for method, path, _scope in PROTECTED:
            response = nobody.request(method, path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path", "scopes"), PROTECTED)
def test_a_key_opens_what_its_scopes_allow_and_nothing_else(api, make_key, method, path, scopes):
    for scope in ("search", "read", "write", "admin"):
        with api.client(make_key(scope)["key"]) as client:
            response = client.request(method, path)
        is_allowed = scope == "admin" or scope in scopes.split()
        if is_allowed:
            assert response.status_code not in {401, 403}, response.text
        else:
            assert response.status_code == 403
            if method != "HEAD":
                check_problem(response, 403, "forbidden")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer wrong", "Basic YTpi", "bearer\tx", "Bearer " + "x" * 5000],
)
def test_a_wrong_key_is_a_401(api, header):
    with api.client(None) as nobody:
        response = nobody.get("/v1/videos", headers={"Authorization": header})

    check_problem(response, 401, "unauthenticated")


def test_a_key_can_be_sent_in_any_case_of_the_scheme(api):
    with api.client(None) as nobody:
        response = nobody.get("/v1/videos", headers={"Authorization": f"bEARER {ADMIN_KEY}"})

    assert response.is_success


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(api, client, make_key):
    made = make_key("read")
    listed = client.get("/v1/keys").json()["keys"]

    assert made["id"] in {key["id"] for key in listed}
    assert made["key"] not in str(listed)
    with api.client(made["key"]) as reader:
        assert reader.get("/v1/videos").is_success
        assert client.delete(f"/v1/keys/{made['id']}").status_code == 204
        check_problem(reader.get("/v1/videos"), 401)
    check_problem(client.delete(f"/v1/keys/{made['id']}"), 404)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "", "scopes": ["read"]},
        {"name": "x" * 1000, "scopes": ["read"]},
        {"name": "x", "scopes": "read"},
        {"name": "x", "scopes": ["read"], "admin": True},
    ],
)
def test_a_wrong_key_request_is_a_422(client, body):
    check_problem(client.post("/v1/keys", json=body), 422)


def test_a_login_link_works_once_and_gives_a_guarded_cookie(api):
    token = access.make_login_token(api.state.sessions, ttl_s=60)
    with api.client(None, headers={"Origin": api.url}) as browser:
        response = browser.post("/v1/session", json={"token": token})
        cookie = response.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/" in cookie
        assert "secure" not in cookie, "a browser would not send it back over plain HTTP"
        assert token not in cookie
        assert browser.get("/v1/videos").is_success
        check_problem(browser.post("/v1/session", json={"token": token}), 401, "bad_login_link")


def test_the_cookie_is_secure_behind_tls(make_api):
    api = make_api(public_url="https://videos.example")
    token = access.make_login_token(api.state.sessions, ttl_s=60)
    with api.client(None, headers={"Host": "videos.example"}) as browser:
        response = browser.post(
            "/v1/session", json={"token": token}, headers={"Origin": "https://videos.example"}
        )

    assert "secure" in response.headers["set-cookie"].lower()


def test_a_login_is_over_after_logging_out(browser):
    assert browser.get("/v1/session").json()["scopes"] == ["admin", "read", "search", "write"]
    cookie = dict(browser.cookies)

    assert browser.delete("/v1/session").status_code == 204

    assert not browser.cookies
    check_problem(browser.get("/v1/videos", cookies=None), 401)
    browser.cookies.update(cookie)
    check_problem(browser.get("/v1/videos"), 401)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://127.0.0.1:1", "http://localhost.evil"]
)
def test_another_site_cannot_use_the_cookie(browser, queued, origin):
    for method, path in [
        ("DELETE", f"/v1/videos/{queued['id']}"),
        ("POST", "/v1/keys"),
        ("POST", "/v1/videos"),
        ("DELETE", "/v1/session"),
    ]:
        response = browser.request(method, path, headers={"Origin": origin})
        check_problem(response, 403, "cross_site_request")
    assert browser.get(f"/v1/videos/{queued['id']}").is_success


def test_a_request_without_an_origin_cannot_use_the_cookie(api, browser, queued):
    with api.client(None, cookies=dict(browser.cookies)) as program:
        check_problem(program.delete(f"/v1/videos/{queued['id']}"), 403, "cross_site_request")


def test_another_site_cannot_log_a_browser_in(api):
    token = access.make_login_token(api.state.sessions, ttl_s=60)
    with api.client(None, headers={"Origin": "https://evil.example"}) as browser:
        check_problem(browser.post("/v1/session", json={"token": token}), 403)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[", "a:b:c"],
)
def test_on_loopback_other_hosts_are_refused(api, host):
    with api.client() as client:
        response = client.get("/v1/videos", headers={"Host": host})

    if response.status_code == 400 and "problem" not in response.headers["content-type"]:
        return  # the HTTP parser refused it before we saw it
    check_problem(response, 421, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8000"])
def test_on_loopback_its_own_names_are_answered(api, host):
    with api.client() as client:
        assert client.get("/healthz", headers={"Host": host}).is_success


def test_a_public_address_is_answered_too(make_api):
    api = make_api(public_url="https://videos.example/")
    with api.client() as client:
        assert client.get("/healthz", headers={"Host": "videos.example"}).is_success
        assert client.get("/healthz", headers={"Host": "other.example"}).status_code == 421


def test_figures_need_a_key_off_loopback(make_api):
    api = make_api(host="0.0.0.0")  # noqa: S104 (the server of the test listens on 127.0.0.1)
    with httpx.Client(base_url=api.url, trust_env=False, timeout=60) as nobody:
        check_problem(nobody.get("/metrics"), 401)
        assert nobody.get("/healthz", headers={"Host": "any.example"}).is_success
    with api.client() as admin:
        assert admin.get("/metrics").is_success
