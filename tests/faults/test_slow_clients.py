"""Clients that are slow, silent or too many: each is let go, and the others notice nothing.

REELSEEK_FAULT_CLIENTS says how many.
"""

import contextlib
import os
import socket
import time

import httpx
import pytest

from service.settings import Settings
from tests.acceptance.api_server import ADMIN_KEY, poll
from tests.acceptance.test_api_process import ApiProcess

CLIENTS = int(os.environ.get("REELSEEK_FAULT_CLIENTS", "40"))
WITHIN_S = 30.0
QUICK = {
    "REELSEEK_UPLOAD_IDLE_S": "2",
    "REELSEEK_UPLOAD_MIN_BYTES_PER_S": "1000",
    "REELSEEK_ANSWER_IDLE_S": "2",
    "REELSEEK_CONNECTIONS": str(CLIENTS + 20),
    "REELSEEK_UPLOADS_OPEN": str(CLIENTS + 10),
    "REELSEEK_EVENT_STREAMS_PER_KEY": "3",
    "REELSEEK_INDEX_KIND": "flat_fp16",
}
AUTHORIZED = f"Authorization: Bearer {ADMIN_KEY}\r\n"
MULTIPART = "Content-Type: multipart/form-data; boundary=slow\r\n"
UPLOAD = (
    f"POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\n{AUTHORIZED}{MULTIPART}"
    "Content-Length: 1000000\r\n\r\n"
    '--slow\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
)
JSON_BODY = (
    f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\n{AUTHORIZED}"
    "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


@contextlib.contextmanager
def running_api(folder, bundle_dir, environment):
    folder.mkdir()
    started = ApiProcess(folder, bundle_dir, environment=environment)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.end(15)


@pytest.fixture(scope="module")
def api(tmp_path_factory, bundle_dir):
    """The API as a process, with little patience."""
    with running_api(tmp_path_factory.mktemp("slow") / "data", bundle_dir, QUICK) as api:
        yield api


@pytest.fixture(scope="module")
def patient_api(tmp_path_factory, bundle_dir):
    """An API that takes a client for silent so late that no machine is slow enough."""
    environment = {**QUICK, "REELSEEK_UPLOAD_IDLE_S": "10"}
    with running_api(tmp_path_factory.mktemp("patient") / "data", bundle_dir, environment) as api:
        yield api


@pytest.fixture
def connect(api):
    """Open a connection and send a beginning: `connect("GET / HT")`."""
    with contextlib.ExitStack() as stack:

        def connect(text="", *, to=api, receive_bytes=None):
            connection = stack.enter_context(socket.socket())
            if receive_bytes:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            connection.settimeout(WITHIN_S)
            connection.connect(("127.0.0.1", to.port))
            connection.sendall(text.encode())
            return connection

        yield connect


def read_to_end(connection) -> str:
    """Return what comes until the server closes."""
    told = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while some := connection.recv(65536):
            told += some
    return told.decode(errors="replace")


def check_that_others_are_answered(api):
    with api.client() as client:
        assert client.post("/v1/search", json={"text": "a ball"}).status_code == 200


def test_heads_that_never_end_are_ended(api, connect):
    silent = [connect() for _ in range(CLIENTS // 2)]
    begun = [connect("GET /healthz HT") for _ in range(CLIENTS // 2)]
    check_that_others_are_answered(api)

    assert all(read_to_end(one) == "" for one in silent)
    assert all(read_to_end(one).startswith("HTTP/1.1 408 ") for one in begun)


def test_a_silent_upload_is_told_so_and_leaves_nothing(api, connect):
    silent = [connect(UPLOAD) for _ in range(CLIENTS)]
    check_that_others_are_answered(api)

    for one in silent:
        told = read_to_end(one)
        assert told.startswith("HTTP/1.1 408 ")
        assert "application/problem+json" in told
        assert "Nothing came for 2 seconds" in told
    assert not list((api.settings.data_dir / "staging").iterdir())


def test_what_came_of_a_slow_upload_waits_on_disk_not_in_memory(api, connect):
    slow = connect(UPLOAD)
    slow.sendall(bytes(100_000))

    def is_on_disk() -> bool:
        slow.sendall(b"1")  # not silent, but slow
        return sum(one.stat().st_size for one in (api.settings.data_dir / "staging").iterdir()) > 0

    poll(is_on_disk, within_s=WITHIN_S)


def test_an_upload_that_drips_is_ended(patient_api, connect):
    dripping = connect(UPLOAD, to=patient_api)
    told = b""
    while not told:
        dripping.settimeout(0.2)
        with contextlib.suppress(TimeoutError, ConnectionError):
            dripping.sendall(b"x")
            told = dripping.recv(65536)
    dripping.settimeout(WITHIN_S)
    told += read_to_end(dripping).encode()

    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"bytes came in" in told


def test_a_small_body_that_stands_still_is_ended(connect):
    told = read_to_end(connect(JSON_BODY))

    assert told.startswith("HTTP/1.1 408 ")


def test_the_rest_of_a_refused_upload_is_not_read_for_long(connect):
    refused = connect(UPLOAD.replace(ADMIN_KEY, "rsk_nobody_has_this_key"))
    told = refused.recv(65536)
    assert told.startswith(b"HTTP/1.1 401 ")

    def drip():
        for _ in range(int(WITHIN_S / 0.1)):
            refused.sendall(b"x")
            time.sleep(0.1)

    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        drip()


def test_an_answer_that_nobody_takes_is_dropped(api, connect):
    """Many pages are asked for at once and none is read, so that no buffer holds them all."""
    with api.client() as client:
        length = len(client.get("/docs").content) + 500
    asked = 8_000_000 // length
    request = f"GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\n{AUTHORIZED}\r\n"
    lazy = connect(receive_bytes=4096)
    lazy.setblocking(False)  # noqa: FBT003

    def ask_for_ever():
        unsent = (request * asked).encode()
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            try:
                unsent = unsent[lazy.send(unsent) :] or request.encode()
            except BlockingIOError:
                time.sleep(0.1)

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask_for_ever()
    check_that_others_are_answered(api)


def test_a_connection_too_many_is_told_so(connect):
    limit = int(QUICK["REELSEEK_CONNECTIONS"])
    for _ in range(limit):
        connect()
    late = connect(f"GET /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\n{AUTHORIZED}\r\n")
    told = read_to_end(late)
    assert told.startswith("HTTP/1.1 503 ")
    assert "too_busy" in told
    assert "retry-after" in told.lower()
    health = connect("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert read_to_end(health).startswith("HTTP/1.1 200 ")


def test_uploads_beyond_the_limit_are_refused_and_searches_are_not(patient_api, connect):
    number = int(QUICK["REELSEEK_UPLOADS_OPEN"]) + 3
    slow = [connect(UPLOAD, to=patient_api) for _ in range(number)]
    check_that_others_are_answered(patient_api)

    answers = [read_to_end(one) for one in slow]
    assert sum("too_busy" in one for one in answers) == 3
    with patient_api.client() as client:  # the places are free again
        assert client.post("/v1/videos").status_code == 415


def test_streams_of_one_key_are_bounded(api, make_video):
    with api.client() as client, contextlib.ExitStack() as stack:
        path = make_video("watched.mp4", duration_s=1)
        job_id = client.post("/v1/videos", files={"file": path.read_bytes()}).json()["job_id"]
        events = f"/v1/jobs/{job_id}/events"
        open_streams = []
        for _ in range(3):
            stream = stack.enter_context(client.stream("GET", events))
            open_streams.append(stream.iter_lines())  # one that is dropped would be closed
            assert next(open_streams[-1]) == "event: progress"

        answer = client.get(events)

    assert (answer.status_code, answer.json()["reason"]) == (503, "too_many_streams")


def test_readiness_ends_before_the_server_stops_listening(tmp_path, bundle_dir):
    notice = {**QUICK, "REELSEEK_DRAIN_NOTICE_S": "12", "REELSEEK_DRAIN_S": "20"}
    process = ApiProcess(tmp_path, bundle_dir, environment=notice)
    try:
        process.wait_until_ready()
        with process.client() as client:
            process.process.terminate()
            answer = poll(lambda: not (last := client.get("/readyz")).is_success and last)
            assert (answer.status_code, answer.json()["reason"]) == (503, "draining")
            assert answer.headers["Retry-After"]
            with process.client() as another:  # it still listens, and answers
                assert another.get("/v1/videos").status_code == 200
        assert process.process.wait(WITHIN_S) in {0, -15}
        with pytest.raises(httpx.ConnectError), process.client() as late:
            late.get("/healthz")
    finally:
        process.end(9)


def test_an_upload_under_way_is_finished_before_the_stop(tmp_path, bundle_dir, make_video):
    content = make_video("whole.mp4", duration_s=1).read_bytes()
    closing = b"\r\n--slow--\r\n"
    head = UPLOAD.encode()
    opening = head[head.index(b"--slow") :]
    length = len(opening) + len(content) + len(closing)
    process = ApiProcess(tmp_path, bundle_dir, environment={"REELSEEK_INDEX_KIND": "flat_fp16"})
    try:
        process.wait_until_ready()
        with socket.create_connection(("127.0.0.1", process.port), timeout=WITHIN_S) as upload:
            upload.sendall(head.replace(b"1000000", str(length).encode()) + content[:100])
            poll(lambda: list(Settings(data_dir=tmp_path).data_dir.glob("staging/upload-*")))
            process.process.terminate()
            time.sleep(1)
            upload.sendall(content[100:] + closing)
            assert upload.recv(65536).startswith(b"HTTP/1.1 202 ")
        assert process.process.wait(WITHIN_S) in {0, -15}
    finally:
        process.end(9)
