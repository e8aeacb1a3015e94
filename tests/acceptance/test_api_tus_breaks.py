"""/v1/uploads: lines that break, clients that stay away, full disks, and a kill."""

import io
import signal
import socket
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from tusclient.exceptions import TusCommunicationError

from service import housekeeping
from service.catalog.session import make_engine, make_sessions
from service.catalog.tables import Video, utc_now
from service.catalog.upload_tables import ResumableUpload
from service.storage import Storage
from tests.acceptance.api_server import ADMIN_KEY, poll
from tests.acceptance.test_api_errors import check_problem
from tests.acceptance.test_api_process import ApiProcess
from tests.acceptance.tus import (
    MIB,
    TUS,
    append,
    create,
    offset_of,
    parts_of,
    resume,
    sending,
    tus_client,
)


def test_what_came_before_a_break_is_kept(api, client, video_bytes):
    content = video_bytes + bytes(3 * MIB)
    address = create(client, len(content))

    sent = {"offset": 0, "content": content[: 2 * MIB], "announced": len(content)}
    with sending(api.port, address, **sent):
        poll(api.staged_files)

    offset = poll(lambda: offset_of(client, address))
    assert MIB <= offset <= 2 * MIB
    resume(client, address, content)
    video = client.get(client.head(address, headers=TUS).headers["reelseek-video"]).json()
    assert client.get(video["links"]["content"]).content == content
    assert parts_of(api, address) == []


def test_a_body_that_breaks_off_before_its_checksum_is_not_kept(api, client):
    address = create(client, 3 * MIB)
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(
            f"PATCH {address} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {ADMIN_KEY}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {3 * MIB}\r\nUpload-Checksum: sha1 YQ==\r\n"
            "Content-Type: application/offset+octet-stream\r\n\r\n".encode()
            + bytes(2 * MIB)
        )
        poll(api.staged_files)

    poll(lambda: not api.staged_files())
    assert offset_of(client, address) == 0


def test_a_silent_client_is_told_and_what_came_is_kept(make_api):
    api = make_api(upload_idle_s=0.5)
    with api.client() as client:
        address = create(client, 1000)
        with sending(api.port, address, offset=0, content=b"x" * 300, announced=1000) as silent:
            silent.settimeout(20)
            answer = silent.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert offset_of(client, address) == 300


def test_a_long_body_is_kept_piece_by_piece(make_api, video_bytes):
    api = make_api(upload_piece_bytes=MIB)
    content = video_bytes + bytes(5 * MIB)
    with api.client() as client:
        address = create(client, len(content))

        sent = {"offset": 0, "content": content[: 4 * MIB], "announced": len(content)}
        with sending(api.port, address, **sent):
            poll(lambda: offset_of(client, address) >= 3 * MIB)
            assert len(parts_of(api, address)) >= 3
        poll(lambda: not api.staged_files())
        last = resume(client, address, content)

        assert client.get(last.headers["reelseek-video"]).json()["size_bytes"] == len(content)
        assert parts_of(api, address) == []


def test_an_upload_that_stood_still_expires_and_is_swept(make_api):
    api = make_api(upload_expires_s=600)
    with api.client() as client:
        old = create(client, 100)
        assert append(client, old, 0, b"x" * 10).status_code == 204
        with api.state.sessions.begin() as session:
            session.execute(
                update(ResumableUpload).values(expires_at=utc_now() - timedelta(seconds=1))
            )
        check_problem(client.get(old), 404, "upload_expired")
        check_problem(append(client, old, 10, b"x"), 404, "upload_expired")
        assert len(parts_of(api, old)) == 1

        swept = housekeeping.sweep_files(api.state.sessions, api.state.storage, grace_s=1000)

        assert swept.uploads == 1
        assert parts_of(api, old) == []
        check_problem(client.get(old), 404, "not_found")


def test_pieces_that_no_row_names_are_swept(api, client):
    address = create(client, 100)
    append(client, address, 0, b"x" * 10)
    upload_id = address.rpartition("/")[2]
    stray = api.state.storage.root / "uploads" / upload_id / "7"
    stray.write_bytes(b"of a process that was killed")

    housekeeping.sweep_files(api.state.sessions, api.state.storage, grace_s=-1)

    assert not stray.exists()
    assert len(parts_of(api, address)) == 1
    client.delete(address, headers=TUS)


def test_what_is_complete_is_accepted_when_it_is_asked_for(api, client, video_bytes):
    """As after a kill between the last byte and the answer."""
    address = create(client, len(video_bytes) + 1)
    append(client, address, 0, video_bytes)
    with api.state.sessions.begin() as session:
        row = session.scalars(
            select(ResumableUpload).order_by(ResumableUpload.created_at.desc()).limit(1)
        ).one()
        row.length = len(video_bytes)

    first = client.head(address, headers=TUS)
    second = client.head(address, headers=TUS)

    assert first.headers["reelseek-video"] == second.headers["reelseek-video"]
    assert client.get(first.headers["reelseek-video"]).json()["state"] == "queued"


def test_a_full_disk_refuses_early_and_goes_on_when_there_is_room(make_api, video_bytes):
    api = make_api()
    with api.client() as client:
        address = create(client, len(video_bytes))
        api.state.storage.disk.reserve_bytes = 2**62
        refused = client.post("/v1/uploads", headers={**TUS, "Upload-Length": "10"})
        check_problem(refused, 507, "storage_full")
        check_problem(append(client, address, 0, video_bytes), 507, "storage_full")
        api.state.storage.disk.reserve_bytes = 0
        assert append(client, address, offset_of(client, address), video_bytes).status_code == 204


def test_a_kill_in_the_middle_costs_at_most_a_piece(tmp_path, bundle_dir, video_bytes):
    folder = tmp_path / "data"
    folder.mkdir()
    content = video_bytes + bytes(4 * MIB)
    first = ApiProcess(folder, bundle_dir)
    first.wait_until_ready()
    uploader = tus_client(f"http://127.0.0.1:{first.port}").uploader(
        file_stream=io.BytesIO(content), chunk_size=MIB // 4
    )
    for _ in range(5):
        uploader.upload_chunk()
    kept = uploader.offset
    path = uploader.url.partition(f":{first.port}")[2]
    sent = {"offset": kept, "content": bytes(MIB + MIB // 2), "announced": 2 * MIB}
    with sending(first.port, path, **sent):
        poll(lambda: list((folder / "staging").iterdir()))
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(TusCommunicationError):
        uploader.get_offset()

    again = ApiProcess(folder, bundle_dir)
    try:
        again.wait_until_ready()
        resumed = tus_client(f"http://127.0.0.1:{again.port}").uploader(
            file_stream=io.BytesIO(content),
            chunk_size=MIB,
            url=uploader.url.replace(str(first.port), str(again.port)),
        )
        assert resumed.offset == kept
        resumed.upload()
        with again.client() as client:
            (video,) = client.get("/v1/videos").json()["videos"]
            assert video["size_bytes"] == len(content)
            assert resumed.request.response_headers["reelseek-video"].endswith(video["id"])
        engine = make_engine(again.settings.sqlalchemy_url)
        storage = Storage(folder, limit_bytes=2**30)
        housekeeping.sweep_files(make_sessions(engine), storage, grace_s=-1)
        with make_sessions(engine)() as session:
            assert session.scalar(select(func.count()).select_from(Video)) == 1
            assert session.scalars(select(ResumableUpload.expires_at)).one() > utc_now()
        engine.dispose()
        assert list(storage.stored_parts()) == []
        assert list(storage.staging.iterdir()) == []
    finally:
        again.end(signal.SIGTERM)
