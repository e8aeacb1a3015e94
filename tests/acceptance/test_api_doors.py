"""Rates, quotas, keys that end, tokens of others, other sites and hosts, and who did what."""

import re
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from service import access
from service.api.hosts import PROBES
from tests.acceptance.api_server import send_video
from tests.acceptance.test_api_captions import feedback
from tests.acceptance.test_api_errors import UNKNOWN, check_problem
from tests.identity_provider import AUDIENCE, running_identity_provider

ANYWHERE = "0.0.0.0"  # noqa: S104 (the server of the test listens on 127.0.0.1)


def make_key(client, *scopes, **options):
    response = client.post("/v1/keys", json={"name": "test", "scopes": scopes, **options})
    assert response.status_code == 201, response.text
    return response.json()


# --- keys


def test_a_key_is_rotated_and_both_work_for_a_while(api, client):
    made = make_key(client, "read", expires_in_s=3600, limits={"searches_per_minute": 5})
    response = client.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 60})

    new = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/keys/{new['id']}"
    assert (new["scopes"], new["limits"]) == (made["scopes"], made["limits"])
    for key in (made["key"], new["key"]):
        with api.client(key) as reader:
            assert reader.get("/v1/videos").is_success
    listed = {key["id"]: key for key in client.get("/v1/keys").json()["keys"]}
    assert listed[made["id"]]["rotated_to"] == new["id"]
    assert new["key"] not in str(listed)
    check_problem(client.post(f"/v1/keys/{made['id']}/rotate"), 409, "already_rotated")
    check_problem(client.post(f"/v1/keys/{UNKNOWN}/rotate"), 404)


def test_a_key_that_ends_says_so_and_the_list_shows_who_made_it_and_its_last_use(api, client):
    made = make_key(client, "read", expires_in_s=60)
    with api.client(made["key"]) as reader:
        assert reader.get("/v1/videos").is_success
        api.state.key_use.write()
        (listed,) = [k for k in client.get("/v1/keys").json()["keys"] if k["id"] == made["id"]]
        assert listed["last_used_at"] is not None
        assert listed["expires_at"] == made["expires_at"]
        assert listed["created_by"] == "settings"
        access.rotate_key(api.state.sessions, UUID(made["id"]), grace_s=0)
        check_problem(reader.get("/v1/videos"), 401, "key_expired")


@pytest.mark.parametrize(
    "changed",
    [
        {"expires_in_s": 0},
        {"expires_in_s": 10**12},
        {"expires_in_s": "60"},
        {"limits": {"searches_per_minute": -1}},
        {"limits": {"unknown": 1}},
        {"limits": {"upload_bytes_per_day": 2**70}},
        {"created_by": "settings"},
    ],
)
def test_a_wrong_end_or_limit_is_a_422(client, changed):
    body = {"name": "x", "scopes": ["read"], **changed}
    check_problem(client.post("/v1/keys", json=body), 422)


# --- rates


@pytest.mark.usefixtures("within_one_minute")
def test_a_key_beyond_its_rate_gets_429_with_all_that_the_draft_asks(api, client):
    made = make_key(client, "read", limits={"requests_per_minute": 3})
    with api.client(made["key"]) as reader:
        answers = [reader.get("/v1/videos") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
    assert re.fullmatch(r'"requests";r=2;t=\d+', answers[0].headers["ratelimit"])
    problem = check_problem(answers[3], 429, "rate_limited")
    assert "3 requests a minute" in problem["detail"]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert answers[3].headers["ratelimit"].startswith('"requests";r=0;')
    assert "ratelimit" not in client.get("/v1/videos").headers, "on loopback any number"


@pytest.mark.usefixtures("within_one_minute")
def test_many_at_once_get_no_more_than_the_rate(api, client):
    made = make_key(client, "read", limits={"requests_per_minute": 10})
    with api.client(made["key"]) as reader, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: reader.get("/v1/videos").status_code, range(40)))

    assert answers.count(200) == 10
    assert answers.count(429) == 30


@pytest.mark.usefixtures("within_one_minute")
def test_wrong_keys_end_in_429_and_a_right_one_is_let_in_all_the_same(make_api):
    api = make_api(failures_per_minute=3)
    with api.client("rsk_wrong") as guesser:
        answers = [guesser.get("/v1/videos").status_code for _ in range(5)]
    assert answers == [401, 401, 401, 429, 429]
    with api.client(None) as guesser:
        link = guesser.post("/v1/session", json={"token": "wrong"})
        check_problem(link, 429, "rate_limited")
        assert guesser.get("/v1/videos").status_code == 401, "nothing was guessed"
    with api.client() as client:
        assert client.get("/v1/videos").is_success


# --- quotas


def test_a_quota_refuses_what_is_announced_before_it_is_sent(api, client, video_bytes):
    made = make_key(client, "write", limits={"upload_bytes_per_day": len(video_bytes) * 2})
    with api.client(made["key"]) as writer:
        assert send_video(writer, video_bytes).status_code == 202
        refused = send_video(writer, video_bytes + b"\0" * len(video_bytes))

    check_problem(refused, 429, "quota_upload_bytes")
    assert 1 <= int(refused.headers["retry-after"]) <= 86400
    assert api.staged_files() == []


def test_no_more_videos_are_kept_than_may_be(make_api, video_bytes):
    api = make_api(quota_videos=1)
    api.wait_until_ready()
    with api.client() as client:
        assert send_video(client, video_bytes).status_code == 202
        check_problem(send_video(client, video_bytes + b"\0"), 507, "quota_videos")


# --- headers, other sites, other hosts


@pytest.mark.parametrize(
    "path", ["/", "/main.js", "/docs", "/openapi.json", "/v1/videos", "/nothing", "/healthz"]
)
def test_every_answer_tells_the_browser_what_not_to_do(client, path):
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r"default-src '(none|self)'", policy)
    assert "access-control-allow-origin" not in headers
    assert "strict-transport-security" not in headers, "this is plain HTTP"


def test_behind_tls_browsers_are_told_to_stay_there(make_api):
    api = make_api(public_url="https://videos.example")
    with api.client() as client:
        assert client.get("/healthz").headers["strict-transport-security"] == "max-age=31536000"


def test_other_sites_get_no_permission_unless_the_settings_give_it(client, make_api):
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert client.options("/v1/search", headers=preflight).status_code == 405
    api = make_api(cors_origins="https://app.example, https://b.example")
    with api.client() as allowed:
        answer = allowed.options("/v1/search", headers=preflight)
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in answer.headers
        listed = allowed.get("/v1/videos", headers={"Origin": "https://app.example"})
        assert listed.headers["access-control-allow-origin"] == "https://app.example"
        assert "RateLimit" in listed.headers["access-control-expose-headers"]
        evil = {**preflight, "Origin": "https://evil.example"}
        assert allowed.options("/v1/search", headers=evil).status_code == 400
        answer = allowed.get("/v1/videos", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


def test_a_cookie_is_refused_to_a_page_of_another_site(api):
    token = access.make_login_token(api.state.sessions, ttl_s=60)
    with api.client(None, headers={"Origin": api.url}) as browser:
        assert browser.post("/v1/session", json={"token": token}).is_success
        crossed = browser.get("/v1/videos", headers={"Sec-Fetch-Site": "cross-site"})
        check_problem(crossed, 403, "cross_site_request")
        assert browser.get("/v1/videos", headers={"Sec-Fetch-Site": "same-origin"}).is_success


def test_off_loopback_only_the_names_given_are_answered_and_probes_by_any(make_api):
    api = make_api(host=ANYWHERE, allowed_hosts="videos.example")
    with api.client() as client:
        for host in ("evil.example", "videos.example.evil.example", "10.0.0.1"):
            answer = client.get("/v1/videos", headers={"Host": host})
            check_problem(answer, 421, "host_not_allowed")
            for path in PROBES:
                assert client.get(path, headers={"Host": host}).status_code != 421
        for host in ("videos.example", "videos.example:8000", "localhost"):
            assert client.get("/v1/videos", headers={"Host": host}).is_success


# --- tokens of an identity provider


def test_a_token_of_the_identity_provider_opens_what_its_scopes_allow(make_api):
    with running_identity_provider() as provider:
        api = make_api(oidc_issuer=provider.issuer, oidc_audience=AUDIENCE)
        with api.client(provider.token(scope="reelseek:read")) as reader:
            assert reader.get("/v1/videos").is_success
            check_problem(reader.get("/v1/keys"), 403, "forbidden")
            assert reader.get("/v1/session").json()["scopes"] == ["read"]
        with api.client(provider.token(aud="another")) as stranger:
            check_problem(stranger.get("/v1/videos"), 401, "bad_token")
        with api.client() as client:
            assert client.get("/v1/keys").is_success, "keys work beside tokens"


# --- who did what


def events_of(client, **query):
    response = client.get("/v1/audit-events", params=query)
    assert response.status_code == 200, response.text
    return response.json()["events"]


def test_the_audit_log_says_who_did_what_from_where(api, client):
    made = make_key(client, "admin")
    request_id = uuid4().hex
    with api.client(made["key"], headers={"X-Request-Id": request_id}) as admin:
        other = make_key(admin, "read")
        assert admin.delete(f"/v1/keys/{other['id']}").status_code == 204
        assert admin.delete(f"/v1/keys/{other['id']}").status_code == 404
        assert admin.get("/v1/keys").is_success
        dry_run = admin.post("/v1/tunings", json={"dry_run": True})
    events = events_of(client, actor=made["id"])

    expected = ["revoke_key", "create_key"]
    if dry_run.is_success:
        expected.insert(0, "create_tuning")
    assert [event["action"] for event in events] == expected
    assert {event["request_id"] for event in events} == {request_id}
    assert {event["address"] for event in events} == {"127.0.0.1"}
    assert {event["subject"] for event in events[-2:]} == {other["id"]}
    assert other["key"] not in str(events)


def test_an_action_without_a_record_of_its_own_is_recorded_before_its_answer(client, ready):
    given = client.post("/v1/feedback", json=feedback(ready["id"]))
    feedback_id = given.json()["id"]
    assert client.delete(f"/v1/feedback/{feedback_id}").status_code == 204
    check_problem(client.delete(f"/v1/feedback/{feedback_id}"), 404)
    found = events_of(client, action="delete_feedback", limit=200)
    (event,) = [event for event in found if event["subject"] == feedback_id]

    assert event["actor"] == "settings"
    assert event["detail"] == {"status": 204}


def test_the_audit_log_is_for_admins_and_its_cursor_is_signed(api, client):
    for _ in range(3):
        make_key(client, "read")
    first = client.get("/v1/audit-events", params={"limit": 2}).json()
    rest = client.get("/v1/audit-events", params={"limit": 2, "cursor": first["next_cursor"]})
    ids = [event["id"] for event in [*first["events"], *rest.json()["events"]]]
    assert len(set(ids)) == 4

    payload, signature = first["next_cursor"].split(".")
    for forged in (f"{payload}x.{signature}", f"{payload}.{signature[::-1]}", payload, "a.b", "."):
        answer = client.get("/v1/audit-events", params={"cursor": forged})
        check_problem(answer, 400, "bad_cursor")
    elsewhere = client.get("/v1/videos", params={"cursor": first["next_cursor"]})
    check_problem(elsewhere, 400, "bad_cursor")
    with api.client(make_key(client, "search", "read", "write")["key"]) as reader:
        check_problem(reader.get("/v1/audit-events"), 403, "forbidden")
