"""POST /v1/videos/batch: each file has an outcome of its own."""

import io
import json
from uuid import uuid4

import pytest

from tests import factories
from tests.acceptance.api_server import send_video
from tests.acceptance.test_api_errors import check_problem


@pytest.fixture
def make_bytes(tmp_path):
    """Bytes of a video of this width."""

    def make_bytes(width: int) -> bytes:
        path = tmp_path / f"{uuid4().hex}.mp4"
        return factories.write_video(path, duration_s=0.4, size=(width, 30)).read_bytes()

    return make_bytes


def send(client, *files: bytes, metadata=None, headers=None):
    parts = [("file", (f"{number}.mp4", io.BytesIO(one))) for number, one in enumerate(files)]
    data = {} if metadata is None else {"metadata": metadata}
    return client.post("/v1/videos/batch", files=parts, data=data, headers=headers)


def test_each_file_has_its_outcome_in_order(api, client, video_bytes, make_bytes):
    known = send_video(client, video_bytes).json()
    metadata = [{"title": "First", "tags": ["a"]}, None, {"title": ""}]

    response = send(
        client,
        *(make_bytes(200), video_bytes, make_bytes(202), b"<html>", b""),
        metadata=json.dumps(metadata),
    )

    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [one["outcome"] for one in results] == [
        *("accepted", "duplicate"),
        *("refused", "refused", "refused"),
    ]
    assert [one["file_name"] for one in results] == [f"{number}.mp4" for number in range(5)]
    video = client.get(results[0]["upload"]["links"]["self"]).json()
    assert (video["title"], video["tags"]) == ("First", ["a"])
    assert results[1]["upload"]["id"] == known["id"]
    reasons = [one["problem"]["reason"] for one in results[2:]]
    assert reasons == ["invalid_input", "not_a_video", "empty_file"]
    assert [one["problem"]["status"] for one in results[2:]] == [422, 422, 422]
    assert api.staged_files() == []


def test_a_batch_that_is_sent_again_gets_the_same_outcomes(client, make_bytes):
    headers = {"Idempotency-Key": uuid4().hex}
    files = (make_bytes(204), b"<html>", make_bytes(206))

    first = send(client, *files, headers=headers).json()["results"]
    again = send(client, *files, headers=headers).json()["results"]
    other = send(client, make_bytes(208), headers=headers).json()["results"]

    assert [one["outcome"] for one in first] == ["accepted", "refused", "accepted"]
    assert again == first
    assert other[0]["problem"]["reason"] == "idempotency_key_reused"
    long = send(client, *files, headers={"Idempotency-Key": "x" * 255})
    check_problem(long, 422)


@pytest.mark.parametrize("metadata", ["{", "{}", "7", "[null, null, null]", "[" * 30_000])
def test_metadata_that_are_no_list_refuse_all_of_it(api, client, metadata):
    check_problem(send(client, b"x", b"y", metadata=metadata), 422, "invalid_input")
    assert api.staged_files() == []


def test_a_batch_has_a_size(make_api, make_bytes):
    first, second = make_bytes(210), make_bytes(212)
    api = make_api(upload_limit_bytes=len(first) + len(second) - 1)
    with api.client() as client:
        check_problem(send(client, first, second), 413, "payload_too_large")
        check_problem(send(client, *[b"x"] * 101), 413, "too_many_files")
        assert client.get("/v1/videos").json()["videos"] == []
        check_problem(client.post("/v1/videos/batch", files={"metadata": (None, "[]")}), 422)
    assert api.staged_files() == []
