"""/v1/uploads: what came stays, whatever breaks off, and becomes one video."""

import io
import threading
from uuid import uuid4

import pytest

from tests.acceptance.test_api_errors import UNKNOWN, check_problem
from tests.acceptance.tus import (
    BODY,
    TUS,
    append,
    checksum,
    create,
    encoded,
    offset_of,
    parts_of,
    tus_client,
)


def test_what_is_spoken_is_told_to_everybody(api):
    with api.client(None) as nobody:
        response = nobody.options("/v1/uploads")

    assert response.status_code == 204
    assert response.headers["tus-version"] == "1.0.0"
    assert set(response.headers["tus-extension"].split(",")) == {
        *("creation", "creation-with-upload", "expiration", "termination", "checksum")
    }
    assert set(response.headers["tus-checksum-algorithm"].split(",")) == {"sha1", "sha256", "crc32"}
    assert int(response.headers["tus-max-size"]) == api.settings.upload_limit_bytes


@pytest.mark.parametrize("with_checksum", [False, True], ids=["plain", "checksum"])
def test_a_public_client_uploads_a_video(api, client, video_bytes, with_checksum):
    uploader = tus_client(api.url).uploader(
        file_stream=io.BytesIO(video_bytes),
        chunk_size=700,
        metadata={
            "filename": "walk.mp4",
            "title": "A walk",
            "tags": "red,blue",
            "fields": '{"n": 1}',
        },
        upload_checksum=with_checksum,
    )

    uploader.upload()

    answer = uploader.request.response_headers
    video = client.get(answer["reelseek-video"]).json()
    assert (video["file_name"], video["title"], video["tags"], video["fields"]) == (
        *("walk.mp4", "A walk", ["blue", "red"]),
        {"n": 1},
    )
    assert video["size_bytes"] == len(video_bytes)
    assert client.get(answer["reelseek-job"]).json()["video_id"] == video["id"]
    state = client.get(uploader.url).json()
    assert (state["state"], state["offset"], state["video_id"]) == (
        *("accepted", len(video_bytes)),
        video["id"],
    )
    assert client.get(f"{video['links']['content']}").content == video_bytes
    assert parts_of(api, uploader.url) == []
    assert api.staged_files() == []


def test_creation_may_bring_all_of_it(client, video_bytes):
    response = client.post(
        "/v1/uploads",
        content=video_bytes,
        headers={**BODY, "Upload-Length": str(len(video_bytes)), **checksum(video_bytes, "sha1")},
    )

    assert response.status_code == 201, response.text
    assert response.headers["upload-offset"] == str(len(video_bytes))
    assert client.get(response.headers["reelseek-video"]).json()["state"] == "queued"
    assert response.json()["state"] == "accepted"
    assert response.headers["tus-resumable"] == "1.0.0"


def test_headers_say_where_it_goes_on_and_until_when(client):
    said = encoded(filename="a.mp4", other="kept")
    address = create(client, 1000, said)

    response = client.head(address, headers=TUS)

    assert response.headers["upload-offset"] == "0"
    assert response.headers["upload-length"] == "1000"
    assert response.headers["upload-metadata"] == said["Upload-Metadata"]
    assert response.headers["upload-expires"].endswith("GMT")
    assert response.headers["cache-control"] == "no-store"
    assert append(client, address, 0, b"x" * 10).status_code == 204
    assert offset_of(client, address) == 10


def test_the_same_content_is_the_same_video(client, video_bytes):
    first = append(client, create(client, len(video_bytes)), 0, video_bytes)
    second = append(client, create(client, len(video_bytes)), 0, video_bytes)

    assert second.headers["reelseek-video"] == first.headers["reelseek-video"]


def test_bytes_for_another_place_are_refused(client):
    address = create(client, 100)
    append(client, address, 0, b"x" * 10)

    check_problem(append(client, address, 0, b"y" * 10), 409, "offset_mismatch")
    check_problem(append(client, address, 50, b"y" * 10), 409, "offset_mismatch")
    check_problem(append(client, address, 10, b"y" * 91), 413, "payload_too_large")

    def unannounced():
        yield b"y" * 91

    check_problem(append(client, address, 10, unannounced()), 413, "payload_too_large")
    assert offset_of(client, address) == 10


def test_bytes_that_were_garbled_are_refused_and_sent_again(api, client, video_bytes):
    address = create(client, len(video_bytes))
    half = len(video_bytes) // 2

    wrong = append(client, address, 0, video_bytes[:half], **checksum(b"other"))
    assert offset_of(client, address) == 0
    right = append(client, address, 0, video_bytes[:half], **checksum(video_bytes[:half]))
    last = append(client, address, half, video_bytes[half:], **checksum(video_bytes[half:], "sha1"))

    problem = wrong.json()
    assert (wrong.status_code, problem["reason"]) == (460, "checksum_mismatch")
    assert wrong.headers["content-type"] == "application/problem+json"
    assert (right.status_code, last.status_code) == (204, 204)
    assert "reelseek-video" in last.headers
    unknown = append(client, create(client, 3), 0, b"abc", **{"Upload-Checksum": "md5 YQ=="})
    check_problem(unknown, 400, "unknown_checksum_algorithm")
    assert api.staged_files() == []


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Upload-Length": "10", "Tus-Resumable": "0.2.2"}, 412, "tus_version"),
        ({"Upload-Length": "10", "Tus-Resumable": ""}, 412, "tus_version"),
        ({}, 422, "invalid_input"),
        ({"Upload-Length": "-1"}, 422, "invalid_input"),
        ({"Upload-Length": "ten"}, 422, "invalid_input"),
        ({"Upload-Length": "9" * 30}, 422, "invalid_input"),
        ({"Upload-Length": "0"}, 422, "empty_file"),
        ({"Upload-Length": str(2**60)}, 413, "payload_too_large"),
        ({"Upload-Length": "10", "Upload-Metadata": "filename ?"}, 400, "invalid_upload_metadata"),
        ({"Upload-Length": "10", "Upload-Metadata": "title IA=="}, 422, "invalid_input"),
        ({"Upload-Length": "10", "Upload-Metadata": "a " + "x" * 60_000}, 422, "invalid_input"),
    ],
)
def test_an_upload_that_cannot_be_is_refused(client, headers, status, reason):
    response = client.post("/v1/uploads", headers={**TUS, **headers})

    check_problem(response, status, reason)
    assert response.headers["tus-resumable"] == "1.0.0"


def test_a_file_that_is_no_video_is_refused_for_good(api, client):
    address = create(client, 6)

    check_problem(append(client, address, 0, b"<html>"), 422, "not_a_video")

    state = client.get(address).json()
    assert (state["state"], state["reason"]) == ("refused", "not_a_video")
    assert state["detail"]
    check_problem(append(client, address, 6, b""), 409, "upload_ended")
    assert parts_of(api, address) == []


def test_another_content_type_is_refused(client):
    address = create(client, 6)

    response = client.patch(address, content=b"abcdef", headers={**TUS, "Upload-Offset": "0"})

    check_problem(response, 415)
    assert offset_of(client, address) == 0


def test_an_upload_is_its_owners(api, client):
    owner, other = (
        client.post("/v1/keys", json={"name": uuid4().hex, "scopes": ["write"]}).json()["key"]
        for _ in range(2)
    )
    with api.client(owner) as mine, api.client(other) as theirs:
        address = create(mine, 10)
        assert mine.get(address).status_code == 200
        assert client.get(address).status_code == 200  # an admin
        check_problem(theirs.get(address), 404)
        check_problem(append(theirs, address, 0, b"x"), 404)
        check_problem(theirs.delete(address, headers=TUS), 404)
        assert offset_of(mine, address) == 0


def test_a_terminated_upload_leaves_nothing(api, client):
    address = create(client, 100)
    append(client, address, 0, b"x" * 10)

    assert client.delete(address, headers=TUS).status_code == 204

    check_problem(client.get(address), 404)
    check_problem(append(client, address, 10, b"x"), 404)
    check_problem(client.delete(address, headers=TUS), 404)
    check_problem(client.get(f"/v1/uploads/{UNKNOWN}"), 404)
    assert parts_of(api, address) == []


def test_a_client_that_cannot_patch_says_so_in_a_post(client):
    address = create(client, 100)

    response = client.post(
        address,
        content=b"abc",
        headers={**BODY, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"},
    )

    assert response.status_code == 204
    assert offset_of(client, address) == 3


def test_creation_is_repeated_without_harm(client):
    headers = {"Idempotency-Key": uuid4().hex}

    assert create(client, 10, headers) == create(client, 10, headers)
    other = client.post("/v1/uploads", headers={**TUS, "Upload-Length": "11", **headers})
    check_problem(other, 409, "idempotency_key_reused")


def test_of_two_requests_for_one_place_one_counts(api, client, video_bytes):
    address, start, answers = create(client, len(video_bytes)), threading.Barrier(4), []

    def race():
        with api.client() as racer:
            start.wait()
            answers.append(append(racer, address, 0, video_bytes).status_code)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [204, 409, 409, 409]
    video = client.get(client.head(address, headers=TUS).headers["reelseek-video"]).json()
    assert client.get(video["links"]["content"]).content == video_bytes
    assert parts_of(api, address) == []
