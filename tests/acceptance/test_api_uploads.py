"""POST /v1/videos: what is taken, what is refused, and that nothing is left behind."""

import io
import json
import socket
import threading

import pytest

from tests.acceptance.api_server import ADMIN_KEY, poll, send_video
from tests.acceptance.test_api_errors import check_problem

BOUNDARY = "limit-of-parts"


def multipart(*parts: bytes, end: bytes = b"--limit-of-parts--\r\n") -> bytes:
    return b"".join(b"--limit-of-parts\r\n" + part + b"\r\n" for part in parts) + end


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if file_name is not None:
        disposition += f'; filename="{file_name}"'
    return disposition.encode() + b"\r\n\r\n" + content


def post_raw(client, body, content_type=f"multipart/form-data; boundary={BOUNDARY}"):
    return client.post("/v1/videos", content=body, headers={"Content-Type": content_type})


def test_an_upload_is_accepted_and_described(client, video_bytes):
    metadata = {"title": " A walk ", "tags": ["red", "red", "blue"], "fields": {"n": [1, None]}}

    response = send_video(
        client, video_bytes, name="walk.mp4", data={"metadata": json.dumps(metadata)}
    )

    assert response.status_code == 202, response.text
    answer = response.json()
    assert response.headers["location"] == f"/v1/jobs/{answer['job_id']}"
    assert answer["is_duplicate"] is False
    assert answer["state"] == "queued"
    video = client.get(answer["links"]["self"]).json()
    assert video["id"] == answer["id"]
    assert video["title"] == "A walk"
    assert video["tags"] == ["blue", "red"]
    assert video["fields"] == {"n": [1, None]}
    assert video["file_name"] == "walk.mp4"
    assert video["size_bytes"] == len(video_bytes)
    assert (video["state"], video["percent"], video["codec"]) == ("queued", 0.0, "h264")
    assert client.get(answer["links"]["job"]).json()["video_id"] == answer["id"]


def test_the_same_content_again_is_the_same_video(client, video_bytes):
    first = send_video(client, video_bytes)
    second = send_video(client, video_bytes, name="other.mp4")

    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["is_duplicate"] is True


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_metadata_may_come_before_or_after_the_file(client, video_bytes, is_first):
    parts = [part("file", video_bytes, "a.mp4"), part("metadata", b'{"title": "Named"}')]

    response = post_raw(client, multipart(*(reversed(parts) if is_first else parts)))

    assert response.status_code == 202, response.text
    assert client.get(response.json()["links"]["self"]).json()["title"] == "Named"


def test_an_idempotency_key_makes_a_repetition_harmless(client, video_bytes):
    headers = {"Idempotency-Key": video_bytes[-64:].hex()}

    first = send_video(client, video_bytes, headers=headers)
    again = send_video(client, video_bytes, headers=headers)
    other = send_video(client, video_bytes + b"\0", headers=headers)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    check_problem(other, 409, "idempotency_key_reused")
    for wrong in ("x" * 256, "é".encode()):
        response = send_video(client, video_bytes, headers={"Idempotency-Key": wrong})
        check_problem(response, 422)


@pytest.mark.parametrize(
    "metadata",
    [
        b"{",
        b"[]",
        b"7",
        b'"x"',
        b"\xff",
        b'{"colour": 1}',
        b'{"title": ""}',
        b'{"title": 5}',
        b'{"title": "' + b"x" * 5000 + b'"}',
        b'{"title": "a\\u0000b"}',
        b'{"title": "\\ud800"}',
        b'{"tags": "red"}',
        b'{"tags": [1]}',
        b'{"fields": {"x": NaN}}',
        b'{"fields": {"a": "\\u0000"}}',
        b'{"fields": ' + b'{"a": ' * 40 + b"1" + b"}" * 41,
        b"[" * 30_000,
    ],
)
def test_wrong_metadata_is_refused_and_leaves_nothing(api, client, video_bytes, metadata):
    body = multipart(part("file", video_bytes, "a.mp4"), part("metadata", metadata))

    check_problem(post_raw(client, body), 422)

    assert api.staged_files() == []


def test_metadata_without_end_is_a_413(api, client):
    body = multipart(part("metadata", b" " * 70_000), part("file", b"x", "a.mp4"))

    check_problem(post_raw(client, body), 413, "metadata_too_large")
    assert api.staged_files() == []


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "invalid_multipart"),
        (b"nonsense", 400, "invalid_multipart"),
        (multipart(part("file", b"x", "a"), end=b""), 400, "invalid_multipart"),
        (b"--limit-of-parts\r\nno header", 400, "invalid_multipart"),
        (multipart(b"X: " + b"y" * 10_000 + b"\r\n\r\nz"), 400, "invalid_multipart"),
        (multipart(b"\r\nno disposition"), 400, "invalid_multipart"),
        (multipart(b"Content-Disposition: attachment\r\n\r\nx"), 400, "invalid_multipart"),
        (multipart(), 422, "file_missing"),
        (multipart(part("metadata", b"{}")), 422, "file_missing"),
        (multipart(part("file", b"x", "a"), part("file", b"y", "b")), 422, "field_repeated"),
        (multipart(part("movie", b"x", "a")), 422, "unknown_field"),
        (multipart(part("file", b"", "a.mp4")), 422, "empty_file"),
        (multipart(part("file", b"<html>", "a.mp4")), 422, "not_a_video"),
    ],
)
def test_a_body_that_is_no_upload_is_refused_and_leaves_nothing(api, client, body, status, reason):
    check_problem(post_raw(client, body), status, reason)

    assert api.staged_files() == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/mixed; boundary=x", 415),
        ("video/mp4", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "x" * 300, 400),
    ],
)
def test_another_content_type_is_refused(client, content_type, status):
    check_problem(post_raw(client, b"x", content_type), status)


def test_a_file_over_the_limit_is_a_413_announced_or_not(make_api, video_bytes):
    api = make_api(upload_limit_bytes=len(video_bytes))

    def unannounced(body):
        yield body

    with api.client() as client:
        assert send_video(client, video_bytes).status_code == 202
        large = multipart(part("file", video_bytes + b"\0", "a.mp4"))
        check_problem(post_raw(client, large), 413, "payload_too_large")
        check_problem(post_raw(client, unannounced(large)), 413, "payload_too_large")
        far_too_large = multipart(part("file", video_bytes + b"\0" * 500_000, "a.mp4"))
        check_problem(post_raw(client, far_too_large), 413, "payload_too_large")
        assert api.staged_files() == []
        assert len(client.get("/v1/videos").json()["videos"]) == 1


def test_a_full_disk_is_a_507(make_api, video_bytes):
    api = make_api()
    api.state.storage.disk.reserve_bytes = 2**62  # as if others had filled the disk since the start

    with api.client() as client:
        check_problem(send_video(client, video_bytes), 507, "storage_full")
    assert api.staged_files() == []


def start_of_upload(api, num_bytes: int) -> socket.socket:
    """Send a request's headers and some of its file, and keep the line open."""
    connection = socket.create_connection(("127.0.0.1", api.port))
    connection.sendall(
        f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 90000000\r\n"
        "\r\n".encode()
        + multipart(part("file", b"x" * num_bytes, "slow.mp4"), end=b"")
    )
    return connection


def test_a_client_that_goes_away_leaves_nothing(api, client):
    connection = start_of_upload(api, 3_000_000)
    poll(api.staged_files)

    connection.close()

    poll(lambda: not api.staged_files())
    assert client.get("/healthz").is_success


def test_a_client_that_falls_silent_is_told_and_leaves_nothing(make_api):
    api = make_api(upload_idle_s=0.3)

    with start_of_upload(api, 10_000) as connection:
        connection.settimeout(20)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert api.staged_files() == []


def test_slow_uploads_do_not_keep_others_waiting(api, client, video_bytes):
    slow = [start_of_upload(api, 2_000_000) for _ in range(60)]  # more than there are threads
    try:
        poll(lambda: len(api.staged_files()) == len(slow))
        assert client.get("/v1/videos?limit=1").is_success
        assert client.post("/v1/search", json={"text": "a dog"}).is_success
        assert send_video(client, video_bytes).status_code == 202
    finally:
        for connection in slow:
            connection.close()
    poll(lambda: not api.staged_files())


def test_many_uploads_of_the_same_content_at_once_are_one_video(api, video_bytes):
    answers = []

    def send():
        with api.client() as client:
            answers.append(send_video(client, video_bytes))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert api.staged_files() == []


def test_the_metrics_count_the_bytes(client, video_bytes):
    def received() -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(
            next(x for x in lines if x.startswith("reelseek_upload_bytes_total")).split()[1]
        )

    before = received()
    send_video(client, io.BytesIO(video_bytes).getvalue())

    assert received() - before == len(video_bytes)
