"""What somebody may try at the doors, one attack a test."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import access
from tests.acceptance.api_server import send_video
from tests.acceptance.test_api_errors import UNKNOWN, check_problem

LAST = ("Host: localhost", "Connection: close")
CRLF = "\r\nSet-Cookie: reelseek_session=evil\r\nX: "


def speak(api, *lines, body=b""):
    """Send bytes as they are; return what comes back."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.decode("latin-1")


@pytest.fixture
def reader(api, client):
    """A client whose key may only read."""
    made = client.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()
    with api.client(made["key"]) as reader:
        reader.key_id = made["id"]
        yield reader


def test_a_key_cannot_give_itself_or_others_more(reader):
    for scopes in (["admin"], ["read"]):
        body = {"name": "mine", "scopes": scopes}
        check_problem(reader.post("/v1/keys", json=body), 403, "forbidden")
    check_problem(reader.post(f"/v1/keys/{reader.key_id}/rotate"), 403, "forbidden")
    check_problem(reader.delete(f"/v1/keys/{reader.key_id}"), 403, "forbidden")


@pytest.mark.parametrize(
    "path",
    [
        *("/v1//keys", "/v1/keys/", "/V1/keys", "/v1/keys;admin", "/v1/%6beys", "/v1/./keys"),
        *("/v1/videos/../keys", "/v1/videos/%2e%2e/keys", "/v1/keys%00", "/v1/keys?scope=admin"),
        "//v1/keys",
    ],
)
def test_no_spelling_of_a_path_leads_around_a_scope(reader, path):
    assert reader.get(path).status_code in {307, 403, 404}


@pytest.mark.parametrize(
    "header",
    [
        {"X-HTTP-Method-Override": "GET"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"X-Forwarded-User": "admin"},
        {"X-Forwarded-Host": "evil.example"},
    ],
)
def test_no_header_stands_for_a_key_a_method_or_an_address(api, reader, header):
    check_problem(reader.post("/v1/keys", headers=header, json={}), 403, "forbidden")
    with api.client(None) as nobody:
        check_problem(nobody.get("/v1/videos", headers=header), 401, "unauthenticated")


def test_what_a_client_says_cannot_begin_another_header(api, client, video_bytes):
    name = f'a"{CRLF}.mp4'
    sent = send_video(client, video_bytes, name="x.mp4", data={"metadata": '{"title": "a\\r\\nb"}'})
    renamed = send_video(client, video_bytes + b"\0", name=name)
    for upload in (sent, renamed):
        if upload.is_success:
            answer = client.get(f"/v1/videos/{upload.json()['id']}/content")
            assert "set-cookie" not in answer.headers
            assert "x" not in answer.headers
    for given in ("a b", 'a"b', "é", "x" * 65, "<script>"):
        answer = client.get("/healthz", headers={b"X-Request-Id": given.encode()})
        assert answer.headers["x-request-id"] != given
    raw = speak(api, "GET /healthz HTTP/1.1", *LAST, f"X-Request-Id: a{CRLF}b")
    assert "set-cookie" not in raw.lower()


def test_two_hosts_or_an_absolute_address_do_not_hide_one(api):
    two = speak(api, "GET /v1/videos HTTP/1.1", *LAST, "Host: evil.example")
    assert two.split()[1] in {"400", "421"}
    line = "GET http://evil.example/v1/videos HTTP/1.1"
    absolute = speak(api, line, "Host: evil.example", "Connection: close")
    assert absolute.split()[1] in {"400", "404", "421"}
    none = speak(api, "GET /v1/videos HTTP/1.0")
    assert none.split()[1] == "421"


def test_a_request_cannot_be_hidden_in_another_one(api):
    hidden = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = speak(
        api,
        "POST /v1/search HTTP/1.1",
        "Host: localhost",
        "Content-Length: 6",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n" + hidden.encode(),
    )
    assert answer.count("HTTP/1.1 ") == 1, answer
    assert answer.split()[1] == "400"
    assert "ambiguous_length" in answer
    for lengths in (("5", "6"), ("-1",), ("1e3",), ("+5",)):
        lines = [f"Content-Length: {length}" for length in lengths]
        answer = speak(api, "POST /v1/search HTTP/1.1", "Host: localhost", *lines, body=b"{}{}{}")
        assert answer.split()[1] == "400"


def test_a_login_link_is_good_for_one_of_many_that_try_at_once(api):
    token = access.make_login_token(api.state.sessions, ttl_s=60)
    with api.client(None, headers={"Origin": api.url}) as browser, ThreadPoolExecutor(8) as pool:
        send = lambda _: browser.post("/v1/session", json={"token": token}).status_code  # noqa: E731
        statuses = list(pool.map(send, range(16)))

    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 401, 429}


def test_a_cookie_set_before_the_login_is_not_the_session(api):
    token = access.make_login_token(api.state.sessions, ttl_s=60)
    planted = {"Cookie": "reelseek_session=planted", "Origin": api.url}
    with api.client(None) as browser:
        answer = browser.post("/v1/session", json={"token": token}, headers=planted)
        assert answer.is_success
        assert "planted" not in answer.headers["set-cookie"]
    with api.client(None, headers=planted) as attacker:
        check_problem(attacker.get("/v1/videos"), 401)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b'{"text": "' + b"\\u0041" * 150_000 + b'"}',
        b"1" * 1_000_000,
    ],
    ids=["lists", "objects", "escapes", "digits"],
)
def test_json_that_is_deep_or_long_is_refused(client, body):
    answer = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 413, 422}


def test_an_identifier_cannot_be_a_path_or_a_statement(client):
    for name in ("..%2f..%2fetc%2fpasswd", "1' OR '1'='1", "%00", UNKNOWN + "%0d%0aX:1"):
        for path in (f"/v1/videos/{name}/content", f"/v1/videos/{name}", f"/v1/keys/{name}/rotate"):
            assert client.get(path).status_code in {404, 405, 422}
    thumbnail = client.get(f"/v1/videos/{UNKNOWN}/thumbnails/..%2f0.jpg")
    assert thumbnail.status_code in {404, 422}
