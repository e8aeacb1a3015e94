"""/v1/evaluation-sets and /v1/evaluation-runs: keep a set, run it, read its history."""

import json
from uuid import UUID, uuid4

import pytest

from tests.acceptance.api_server import poll, send_video
from tests.acceptance.test_api_errors import UNKNOWN, check_problem
from workers.evaluating import evaluate
from workers.resources import Resources
from workers.runner import run_job

SETS = "/v1/evaluation-sets"


@pytest.fixture
def name():
    """A name that no other test uses."""
    return f"set {uuid4().hex[:8]}"


@pytest.fixture
def make_set(client, ready, name):
    """Keep a set about the video `ready`: `make_set({"text": "a"}, ...)`."""

    def make_set(*queries):
        rows = [{"video_id": ready["id"], **query} for query in queries or ({"text": "a dog"},)]
        response = client.post(SETS, json={"name": name, "queries": rows})
        assert response.status_code == 201, response.text
        return response.json()

    return make_set


@pytest.fixture
def work(api):
    """Do what a worker does with a run."""

    def work(queued):
        with Resources(api.settings) as resources:
            run_job(UUID(queued["job_id"]), evaluate, resources)

    return work


def test_a_deleted_set_is_gone_with_its_versions_and_runs(client, make_set, name):
    first, second = make_set({"text": "a dog"}), make_set({"text": "a bird"})
    queued = client.post(f"{SETS}/{first['id']}/runs").json()

    assert client.delete(f"{SETS}/{second['id']}").status_code == 204

    assert name not in {one["name"] for one in client.get(SETS).json()["sets"]}
    for path in (f"{SETS}/{first['id']}", f"/v1/evaluation-runs/{queued['id']}"):
        assert client.get(path).status_code == 404
    assert client.get(f"/v1/jobs/{queued['job_id']}").status_code == 404
    assert client.delete(f"{SETS}/{second['id']}").status_code == 404


def test_a_set_is_kept_and_the_same_name_again_is_its_next_version(client, ready, make_set, name):
    first = make_set({"text": " a dog "}, {"text": "a cat", "start_s": 0.1, "end_s": 0.4})
    second = make_set({"text": "a bird"})

    assert (first["name"], first["version"], first["num_queries"]) == (name, 1, 2)
    assert (second["version"], second["is_newest"], second["num_gone"]) == (2, True, 0)
    listed = [one for one in client.get(SETS).json()["sets"] if one["name"] == name]
    assert [one["id"] for one in listed] == [second["id"]]
    every = client.get(SETS, params={"all_versions": True}).json()["sets"]
    assert [one["version"] for one in every if one["name"] == name] == [2, 1]
    read = client.get(first["links"]["self"]).json()
    assert read["is_newest"] is False
    assert read["queries"] == [
        {"text": text, "video_id": ready["id"], "title": "clip", "is_gone": False, **span}
        for text, span in (
            ("a dog", {"start_s": None, "end_s": None}),
            ("a cat", {"start_s": 0.1, "end_s": 0.4}),
        )
    ]


def test_a_run_says_how_the_search_did_and_stays_in_the_history(client, make_set, work):
    made = make_set({"text": "a dog"}, {"text": "a red circle", "start_s": 0.0, "end_s": 0.4})
    runs = made["links"]["runs"]

    response = client.post(runs)
    queued = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == queued["links"]["self"]
    assert client.get(queued["links"]["self"]).json()["figures"] is None
    assert client.post(runs).json()["id"] == queued["id"], "one that waits is enough"
    work(queued)
    again = client.post(runs).json()
    work(again)

    run = client.get(queued["links"]["self"]).json()
    assert (run["state"], run["percent"], run["trigger"]) == ("done", 100.0, "person")
    assert run["model_name"]
    assert run["generation_id"]
    assert run["figures"]["measured"] == 2
    assert {one["stream"] for one in run["figures"]["streams"]} == {"dual_stream", "reranked"}
    assert [one["text"] for one in run["answers"]] == ["a dog", "a red circle"]
    assert all(one["dual_stream"]["moment"] >= 1 for one in run["answers"])
    history = client.get(runs).json()["runs"]
    assert [one["id"] for one in history] == [again["id"], queued["id"]]
    assert history[0]["figures"]["change"]["since"] == queued["id"]
    assert history[0]["figures"]["change"]["streams"][0]["R@1"]["by"] == 0
    last = client.get(made["links"]["self"]).json()["last_run"]
    assert last["id"] == again["id"]
    job = client.get(f"/v1/jobs/{queued['job_id']}").json()
    assert (job["kind"], job["state"]) == ("evaluate", "done")


def test_a_deleted_video_is_counted_and_its_queries_stay(client, ready, make_set):
    made = make_set({"text": "a dog"}, {"text": "a cat"})

    client.delete(f"/v1/videos/{ready['id']}")

    read = client.get(made["links"]["self"]).json()
    assert (read["num_queries"], read["num_gone"]) == (2, 2)
    assert [query["is_gone"] for query in read["queries"]] == [True, True]


@pytest.mark.parametrize("by", ["id", "file_name", "title"])
def test_a_file_names_videos_as_people_do(client, video_bytes, name, by):
    title, file_name = f"Title {name}", f"{name}.mp4"
    metadata = {"metadata": json.dumps({"title": title})}
    upload = send_video(client, video_bytes, name=file_name, data=metadata).json()
    poll(lambda: client.get(f"/v1/videos/{upload['id']}").is_success)
    video = {"id": upload["id"], "file_name": file_name, "title": title}[by]

    for file_format, content in (
        ("csv", f"text,video,start_s,end_s\r\na dog,{video},,\r\n"),
        ("jsonl", json.dumps({"text": "a dog", "video": video}) + "\n"),
    ):
        made = client.post(
            f"{SETS}/import", params={"name": name, "format": file_format}, content=content
        )
        assert made.status_code == 201, made.text
        (query,) = client.get(made.json()["links"]["self"]).json()["queries"]
        assert (query["text"], query["video_id"]) == ("a dog", upload["id"])
    assert made.json()["version"] == 2


def test_a_name_that_two_videos_have_is_refused(client, ready, video_bytes, name):
    other = send_video(client, video_bytes + b"\0" * 16).json()
    assert other["id"] != ready["id"]

    response = client.post(
        f"{SETS}/import", params={"name": name, "format": "csv"}, content="text,video\na,clip\n"
    )

    problem = check_problem(response, 422, "bad_queries")
    assert "videos are called 'clip'; give the id" in problem["detail"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"video_id": UNKNOWN}, f"There is no video '{UNKNOWN}'"),
        ({"start_s": 1.0}, "Give both start_s and end_s"),
        ({"start_s": 4.0, "end_s": 4.0}, "0 <= start_s < end_s must hold"),
        ({"start_s": 4.0, "end_s": 4000.0}, "s long"),
        ({"text": "\x1b[31m"}, "control characters"),
        ({"text": "   "}, "empty"),
    ],
)
def test_a_wrong_query_is_named_and_nothing_is_kept(client, ready, name, query, sentence):
    queries = [
        {"text": "a dog", "video_id": ready["id"]},
        {"text": "a cat", "video_id": ready["id"], **query},
    ]

    response = client.post(SETS, json={"name": name, "queries": queries})

    problem = check_problem(response, 422, "bad_queries")
    assert "1 of 2 queries" in problem["detail"]
    assert "queries.1: " in problem["detail"]
    assert sentence in problem["detail"]
    assert name not in {one["name"] for one in client.get(SETS).json()["sets"]}


@pytest.mark.parametrize(
    "change",
    [
        {"queries": []},
        {"queries": [{"text": "a"}]},
        {"queries": [{"text": "", "video_id": UNKNOWN}]},
        {"queries": [{"text": "x" * 501, "video_id": UNKNOWN}]},
        {"queries": [{"text": "a", "video_id": UNKNOWN}] * 10_001},
        {"queries": [{"text": "a", "video_id": UNKNOWN, "start_s": -1, "end_s": 1}]},
        {"queries": [{"text": "a", "video_id": UNKNOWN, "colour": "red"}]},
        {"queries": "a"},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\x00b"},
        {"unknown": 1},
    ],
)
def test_what_is_no_set_is_a_422(client, name, change):
    body = {"name": name, "queries": [{"text": "a", "video_id": UNKNOWN}], **change}

    check_problem(client.post(SETS, json=body), 422, "invalid_input")


def test_a_name_of_control_characters_is_refused(client, ready):
    queries = [{"text": "a dog", "video_id": ready["id"]}]

    response = client.post(SETS, json={"name": "a\x1b[31m", "queries": queries})

    check_problem(response, 422, "bad_name")


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "bad_file"), ("text,video\n", "empty_set"), ("text,video\na,nothing\n", "bad_queries")],
)
def test_a_file_that_is_no_set_is_refused(client, name, content, reason):
    response = client.post(
        f"{SETS}/import", params={"name": name, "format": "csv"}, content=content
    )

    check_problem(response, 422, reason)


def test_ten_thousand_queries_fit_and_a_larger_body_does_not(client, ready, name):
    queries = [{"text": f"a dog number {n}", "video_id": ready["id"]} for n in range(10_000)]

    made = client.post(SETS, json={"name": name, "queries": queries})

    assert made.status_code == 201, made.text
    assert made.json()["num_queries"] == 10_000
    params = {"name": name, "format": "csv"}
    response = client.post(f"{SETS}/import", params=params, content=b" " * (16 * 2**20 + 1))
    check_problem(response, 413, "payload_too_large")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{SETS}/{UNKNOWN}"),
        ("GET", f"{SETS}/{UNKNOWN}/runs"),
        ("POST", f"{SETS}/{UNKNOWN}/runs"),
        ("GET", f"/v1/evaluation-runs/{UNKNOWN}"),
    ],
)
def test_unknown_sets_and_runs_are_404(client, method, path):
    check_problem(client.request(method, path), 404, "not_found")


def test_a_key_that_only_reads_makes_no_sets_and_no_runs(client, api, make_set):
    made = make_set()
    key = client.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()["key"]

    with api.client(key) as reader:
        assert reader.get(made["links"]["self"]).is_success
        assert reader.get(made["links"]["runs"]).is_success
        check_problem(reader.post(made["links"]["runs"]), 403, "forbidden")
        check_problem(reader.post(SETS, json={"name": "x", "queries": []}), 403, "forbidden")
        imported = reader.post(f"{SETS}/import", params={"name": "x", "format": "csv"})
        check_problem(imported, 403, "forbidden")
    with api.client(None) as nobody:
        check_problem(nobody.get(SETS), 401)
