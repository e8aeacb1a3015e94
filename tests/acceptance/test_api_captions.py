"""Captions, files of captions, and feedback, as clients of the API meet them."""

import io
import json

import pytest

from service.api.captions import IMPORT_LIMIT_BYTES
from service.api.middleware import LARGER
from tests.acceptance.api_server import send_video
from tests.acceptance.test_api_errors import UNKNOWN, check_problem

RECEIPT = {
    "model_version_id": UNKNOWN,
    "generation_id": UNKNOWN,
    "epoch": "e",
    "seq": 3,
    "candidates": 100,
    "reranked": 16,
}


@pytest.fixture
def video_id(queued):
    """A video that waits for its ingest."""
    return queued["id"]


def caption(client, video_id, **body):
    return client.post(f"/v1/videos/{video_id}/captions", json=body)


def test_a_caption_is_added_listed_and_deleted(client, video_id):
    response = caption(client, video_id, text=" a cat ", start_s=0.1, end_s=0.2)

    made = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/captions/{made['id']}"
    assert made | {"id": "", "created_at": ""} == {
        "id": "",
        "video_id": video_id,
        "text": "a cat",
        "start_s": 0.1,
        "end_s": 0.2,
        "source": "typed",
        "created_at": "",
    }
    again = caption(client, video_id, text="a cat", start_s=0.1, end_s=0.2)
    assert (again.status_code, again.json()) == (200, made)
    for path in (f"/v1/videos/{video_id}/captions", f"/v1/captions?video_id={video_id}"):
        assert client.get(path).json() == {"captions": [made], "next_cursor": None}
    assert client.get("/v1/captions?limit=1").json()["captions"] == [made]
    assert client.delete(f"/v1/captions/{made['id']}").status_code == 204
    check_problem(client.delete(f"/v1/captions/{made['id']}"), 404, "not_found")
    assert client.get(f"/v1/videos/{video_id}/captions").json()["captions"] == []


def test_pages_of_captions_follow_each_other(client, video_id):
    made = [caption(client, video_id, text=f"text {n}").json()["id"] for n in range(3)]
    path = f"/v1/videos/{video_id}/captions"

    first = client.get(path, params={"limit": 2}).json()
    second = client.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()

    found = [one["id"] for page in (first, second) for one in page["captions"]]
    assert found == made[::-1]
    assert second["next_cursor"] is None
    check_problem(client.get("/v1/captions", params={"cursor": first["next_cursor"]}), 400)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "  "},
        {"text": "x" * 2001},
        {"text": "x" * 100_000},
        {"text": "a\u0000b"},
        {"text": "\u001b[31m"},
        {"text": 7},
        {"text": "a", "start_s": -1},
        {"text": "a", "start_s": 1, "end_s": 1},
        {"text": "a", "start_s": 0, "end_s": 10_000},
        {"text": "a", "start_s": "0"},
        {"text": "a", "nonsense": 1},
        [],
    ],
)
def test_a_wrong_caption_is_a_422(client, video_id, body):
    response = client.post(f"/v1/videos/{video_id}/captions", json=body)

    check_problem(response, 422, "invalid_input")


@pytest.mark.parametrize("form", ["csv", "jsonl", "vtt", "srt"])
def test_an_export_is_imported_without_a_change(client, video_id, form):
    caption(client, video_id, text='a "cat", <b>& a dog</b>')
    caption(client, video_id, text="a bird", start_s=0.1, end_s=0.2)
    query = {"format": form, "video_id": video_id}

    exported = client.get("/v1/captions/export", params=query)
    response = client.post("/v1/captions/import", params=query, content=exported.content)

    assert exported.headers["content-disposition"].endswith(f'"captions.{form}"')
    assert response.status_code == 200
    assert response.json() == {"imported": 0, "unchanged": 2, "num_skipped": 0, "skipped": []}


def test_media_types_say_what_comes(client, video_id):
    kinds = {
        form: client.get(
            "/v1/captions/export", params={"format": form, "video_id": video_id}
        ).headers["content-type"]
        for form in ("csv", "jsonl", "vtt", "srt")
    }

    assert kinds == {
        "csv": "text/csv; charset=utf-8",
        "jsonl": "application/jsonl",
        "vtt": "text/vtt; charset=utf-8",
        "srt": "application/x-subrip",
    }


def test_wrong_lines_are_named_or_left_out(client, video_id):
    rows = [{"video": video_id, "text": f"text {n}"} for n in range(3)]
    wrong = [{"video": "no such video", "text": "x"}] * 30
    content = "\n".join(json.dumps(row) for row in [*rows, *wrong])
    path = "/v1/captions/import?format=jsonl"

    problem = check_problem(client.post(path, content=content), 422, "invalid_lines")
    assert "30 lines are wrong" in problem["detail"]
    assert [one["path"] for one in problem["errors"]] == [f"line {n}" for n in range(4, 24)]
    assert problem["errors"][0]["message"] == "There is no video 'no such video'."
    assert client.get(f"/v1/videos/{video_id}/captions").json()["captions"] == []

    done = client.post(path + "&on_error=skip", content=content).json()
    assert (done["imported"], done["num_skipped"], len(done["skipped"])) == (3, 30, 30)
    assert done["skipped"][0] == {"line": 4, "reason": "There is no video 'no such video'."}
    captions = client.get(f"/v1/videos/{video_id}/captions").json()["captions"]
    assert {one["source"] for one in captions} == {"imported"}


@pytest.mark.parametrize(
    ("query", "content", "reason"),
    [
        ("", b"", "invalid_input"),
        ("format=pdf", b"", "invalid_input"),
        ("format=csv&on_error=hope", b"", "invalid_input"),
        ("format=csv", b"", "no_csv_header"),
        ("format=csv", b"\xff\xfe\x00", "no_csv_header"),
        ("format=vtt", b"WEBVTT\n", "video_id_missing"),
        ("format=vtt&video_id=VIDEO", b"1\n", "not_webvtt"),
        ("format=srt&video_id=x", b"", "invalid_input"),
        ("format=jsonl", b"{\n", "invalid_lines"),
    ],
)
def test_a_wrong_import_says_what_is_wrong(client, video_id, query, content, reason):
    path = f"/v1/captions/import?{query.replace('VIDEO', video_id)}"

    check_problem(client.post(path, content=content), 422, reason)


def test_files_of_unknown_videos_are_a_404(client):
    for form in ("csv", "vtt"):
        query = {"format": form, "video_id": UNKNOWN}
        check_problem(client.get("/v1/captions/export", params=query), 404)
        check_problem(client.post("/v1/captions/import", params=query, content=b""), 404)
    check_problem(client.get("/v1/captions/export?format=vtt"), 422, "video_id_missing")


def test_an_import_may_be_larger_than_other_requests_but_has_a_limit(client, video_id):
    row = json.dumps({"video": video_id, "text": "x" * 1900}).encode() + b"\n"
    content = row * (3 * 1024 * 1024 // len(row))
    path = "/v1/captions/import?format=jsonl"

    assert client.post(path, content=content).json()["imported"] == 1
    assert LARGER["POST", "/v1/captions/import"] == IMPORT_LIMIT_BYTES
    endless = io.BytesIO(b"\n" * (IMPORT_LIMIT_BYTES + 1))
    check_problem(client.post(path, content=endless), 413, "payload_too_large")


def feedback(video_id, **changes):
    body = {"text": "a cat", "verdict": "right", "video_id": video_id, "receipt": RECEIPT}
    return body | changes


def test_feedback_is_kept_with_its_receipt(client, video_id, api):
    body = feedback(
        video_id,
        verdict="instead",
        start_s=0,
        end_s=0.2,
        instead={"video_id": video_id, "start_s": 0.2, "end_s": 0.4},
    )

    response = client.post("/v1/feedback", json=body)

    made = response.json()
    assert response.status_code == 201
    assert {**made, "id": None, "created_at": None} == {**body, "id": None, "created_at": None}
    assert client.post("/v1/feedback", json=body).status_code == 200
    assert made in client.get("/v1/feedback?limit=200").json()["feedback"]
    assert client.delete(f"/v1/feedback/{made['id']}").status_code == 204
    check_problem(client.delete(f"/v1/feedback/{made['id']}"), 404)
    assert api.staged_files() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "maybe"},
        {"verdict": "instead"},
        {"verdict": "right", "instead": {"video_id": UNKNOWN}},
        {"verdict": "instead", "instead": {}},
        {"text": ""},
        {"text": "\u0000"},
        {"receipt": {}},
        {"receipt": None},
        {"receipt": RECEIPT | {"seq": "x"}},
        {"start_s": 5, "end_s": 1},
        {"nonsense": 1},
    ],
)
def test_wrong_feedback_is_a_422(client, video_id, changes):
    response = client.post("/v1/feedback", json=feedback(video_id, **changes))

    check_problem(response, 422, "invalid_input")


def test_feedback_on_a_video_that_is_not_there_is_a_404(client, video_id, video_bytes):
    other = send_video(client, video_bytes + b"\0" * 9).json()["id"]
    client.post("/v1/feedback", json=feedback(other)).raise_for_status()
    caption(client, other, text="a cat").raise_for_status()
    client.delete(f"/v1/videos/{other}").raise_for_status()

    check_problem(client.post("/v1/feedback", json=feedback(other)), 404)
    check_problem(caption(client, other, text="a dog"), 404)
    listed = client.get("/v1/feedback?limit=200").json()["feedback"]
    assert other not in {one["video_id"] for one in listed}
    assert other not in client.get("/v1/captions/export?format=csv").text
    assert video_id
