"""Every failure is a problem document, and tells nothing that it should not."""

import json
import os
import sqlite3
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.api_server import send_video
from tests.stored_files import blob_path

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def check_problem(response: httpx.Response, status: int, reason: str | None = None) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{problem['reason']}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    if reason:
        assert problem["reason"] == reason
    return problem


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/nothing", "/../etc/passwd", "/%2e%2e/x"])
def test_an_unknown_address_is_a_404_problem(client, method, path):
    check_problem(client.request(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/search", "GET, POST"),
        ("PUT", "/v1/videos", "GET, POST"),
        ("POST", f"/v1/videos/{UNKNOWN}", "DELETE, GET, PATCH"),
        ("POST", f"/v1/videos/{UNKNOWN}/content", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("PATCH", "/healthz", "GET"),
        ("BREW", "/v1/jobs", "GET"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(client, method, path, allowed):
    response = client.request(method, path)

    check_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/videos/{UNKNOWN}"),
        ("PATCH", f"/v1/videos/{UNKNOWN}"),
        ("DELETE", f"/v1/videos/{UNKNOWN}"),
        ("GET", f"/v1/videos/{UNKNOWN}/segments"),
        ("GET", f"/v1/videos/{UNKNOWN}/content"),
        ("GET", f"/v1/videos/{UNKNOWN}/thumbnails/0.jpg"),
        ("GET", f"/v1/jobs/{UNKNOWN}"),
        ("GET", f"/v1/jobs/{UNKNOWN}/events"),
        ("DELETE", f"/v1/keys/{UNKNOWN}"),
        ("GET", f"/v1/videos/{UNKNOWN}/captions"),
        ("DELETE", f"/v1/captions/{UNKNOWN}"),
        ("DELETE", f"/v1/feedback/{UNKNOWN}"),
    ],
)
def test_unknown_and_malformed_ids_are_4xx(client, method, path):
    body = {"json": {"title": "x"}} if method == "PATCH" else {}

    check_problem(client.request(method, path, **body), 404, "not_found")
    for malformed in ("1", "x" * 500, "%00", "null", "..%2f..%2fetc", "💥"):
        response = client.request(method, path.replace(UNKNOWN, malformed), **body)
        assert response.status_code in {404, 422}, response.text
        check_problem(response, response.status_code)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "   "},
        {"text": "x" * 100_000},
        {"text": 7},
        {"text": None},
        {"text": ["a"]},
        {"text": "a", "limit": 0},
        {"text": "a", "limit": 101},
        {"text": "a", "limit": "ten"},
        {"text": "a", "limit": True},
        {"text": "a", "limit": 1.5},
        {"text": "a", "limit": 10**30},
        {"text": "a", "candidates": -1},
        {"text": "a", "rerank_depth": 10**9},
        {"text": "a", "deadline_ms": 0},
        {"text": "a", "group_by": "colour"},
        {"text": "a", "unknown": 1},
        {"text": "a", "min_seq": 2**70},
        {"text": "a", "filter": {"tags": "red"}},
        {"text": "a", "filter": {"tags": ["x" * 101]}},
        {"text": "a", "filter": {"tags": [f"{n}" for n in range(100)]}},
        {"text": "a", "filter": {"video_ids": ["1"]}},
        {"text": "a", "filter": {"created_after": "yesterday"}},
        {"text": "a", "filter": {"created_after": "2026-01-01T00:00:00"}},
        {"text": "a", "filter": {"min_duration_s": -1}},
        {"text": "a", "filter": {"nonsense": 1}},
        [],
        "text",
        None,
        7,
    ],
)
def test_a_wrong_search_is_a_422_that_names_the_field(client, body):
    problem = check_problem(client.post("/v1/search", json=body), 422, "invalid_input")

    assert len(json.dumps(problem)) < 4000, "the input is not echoed"


@pytest.mark.parametrize(
    "text", ["a\x00b", "\ud800", "a\udfff", "\x1b[31m"], ids=["NUL", "surrogate", "low", "escape"]
)
def test_text_that_no_database_can_hold_is_refused(client, queued, text):
    raw = json.dumps({"text": text})
    tags = json.dumps({"tags": [text]})
    headers = {"Content-Type": "application/json"}

    for method, path, body in [
        ("POST", "/v1/search", raw),
        ("POST", "/v1/search", json.dumps({"text": "a", "filter": {"tags": [text + "\x00"]}})),
        ("PATCH", f"/v1/videos/{queued['id']}", tags),
        ("PATCH", f"/v1/videos/{queued['id']}", json.dumps({"title": text})),
        ("PATCH", f"/v1/videos/{queued['id']}", json.dumps({text: 1})),
        ("POST", "/v1/keys", json.dumps({"name": text, "scopes": ["read"]})),
    ]:
        response = client.request(method, path, content=body, headers=headers)
        check_problem(response, 422, "invalid_input")


@pytest.mark.parametrize("query", ["tag=%00", "cursor=%00", "state=%ff", "limit=99999", "limit=x"])
def test_a_wrong_query_of_the_list_is_4xx(client, query):
    response = client.get(f"/v1/videos?{query}")

    assert response.status_code in {400, 422}
    check_problem(response, response.status_code)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(client, queued, number):
    headers = {"Content-Type": "application/json"}
    search = f'{{"text": "a", "filter": {{"min_duration_s": {number}}}}}'
    fields = f'{{"fields": {{"x": {number}}}}}'

    check_problem(client.post("/v1/search", content=search, headers=headers), 422)
    response = client.patch(f"/v1/videos/{queued['id']}", content=fields, headers=headers)
    check_problem(response, 422)


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"text": ' + b"9" * 10_000 + b"}"]
)
def test_a_body_that_is_no_json_is_a_400(client, body):
    response = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})

    check_problem(response, 400)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_type_is_a_415(client, content_type):
    headers = {"Content-Type": content_type} if content_type else {}

    check_problem(client.post("/v1/search", content=b'{"text": "a"}', headers=headers), 415)


def test_a_json_body_without_end_is_a_413(client):
    def endless():
        for _ in range(1000):
            yield b" " * 65536

    response = client.post(
        "/v1/search", content=endless(), headers={"Content-Type": "application/json"}
    )

    check_problem(response, 413, "payload_too_large")


@pytest.mark.parametrize("cursor", ["x", "a.b", "x" * 5000, "💥", "eyJhIjoxfQ.AAAA", "."])
def test_a_foreign_cursor_is_refused(client, cursor):
    for response in (
        client.get("/v1/videos", params={"cursor": cursor}),
        client.post("/v1/search", json={"text": "a", "cursor": cursor}),
    ):
        assert response.status_code in {400, 422}
        check_problem(response, response.status_code)


def test_a_cursor_of_the_list_is_none_of_search(client, queued, video_bytes):  # noqa: ARG001
    send_video(client, video_bytes + b"\0" * 8)
    cursor = client.get("/v1/videos?limit=1").json()["next_cursor"]

    response = client.post("/v1/search", json={"text": "a", "cursor": cursor})

    check_problem(response, 400, "bad_cursor")


def test_a_request_id_is_given_back_only_if_it_is_harmless(client):
    given = uuid4().hex
    assert client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    for hostile in ("x" * 200, "a b", "a;b", '"', "é".encode()):
        answered = client.get("/healthz", headers={"X-Request-Id": hostile}).headers["x-request-id"]
        assert answered != hostile
        assert answered.isalnum()


def test_an_unexpected_failure_is_a_500_without_details(api, client, ready):
    video = client.get(f"/v1/videos/{ready['id']}").json()
    os.truncate(blob_path(api.state.storage, video["sha256"]), 10)

    response = client.get(f"/v1/videos/{ready['id']}/content")

    problem = check_problem(response, 500, "internal_server_error")
    assert str(api.settings.data_dir) not in response.text
    assert "OSError" not in response.text
    assert "ends before" not in response.text
    assert set(problem) == {"type", "title", "status", "detail", "reason", "request_id"}


def test_a_database_that_fails_is_a_503(make_api):
    api = make_api()
    with api.client() as client, sqlite3.connect(api.settings.data_dir / "reelseek.sqlite") as file:
        file.execute("DROP TABLE video_tags")
        file.commit()
        response = client.get("/v1/videos?tag=x")
    file.close()

    check_problem(response, 503, "database_unavailable")
    assert int(response.headers["retry-after"]) > 0
