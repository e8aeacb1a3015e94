"""/v1/search and /v1/videos: what clients find, page by page."""

import itertools
import re
import threading
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.api_server import poll, send_video
from tests.acceptance.test_api_errors import check_problem

NO_GENERATION = {"generation_id": str(uuid4())}


@pytest.fixture
def found(client, ready):
    """The moments of a video that was ingested just now."""
    only = {"video_ids": [ready["id"]]}

    def look():
        body = {"text": "a red circle", "filter": only}
        return client.post("/v1/search", json=body).json()["moments"]

    return poll(look)


def test_a_moment_says_where_it_is_and_how_good(client, ready, found):
    assert sorted(ordinal for moment in found for ordinal in moment["segments"]) == [0, 1]
    assert [moment["rank"] for moment in found] == list(range(1, len(found) + 1))
    best = found[0]
    assert best["video_id"] == ready["id"]
    assert best["start_s"] == 4.0 * best["segments"][0]
    assert best["end_s"] == 4.0 * (best["segments"][-1] + 1)
    assert best["retrieval_rank"] == 1
    assert -1 <= best["similarity"] <= 1
    assert best["match_probability"] is None, "its stored clip does not fit the network"
    assert best["title"] == "clip"
    span = f"t={best['start_s']:.3f},{best['end_s']:.3f}"
    assert best["media_url"] == f"/v1/videos/{ready['id']}/content#{span}"
    assert client.get(best["media_url"]).is_success
    assert client.get(best["thumbnail_url"]).content.startswith(b"jpeg")


def test_an_answer_carries_a_receipt_and_says_what_took_how_long(client, ready, found):  # noqa: ARG001
    response = client.post("/v1/search", json={"text": "a red circle"})
    answer = response.json()

    assert set(answer) == {"moments", "receipt", "next_cursor", "degraded", "confidence"}
    system = client.get("/v1/system").json()
    assert answer["receipt"]["generation_id"] == system["model"]["generation_id"]
    assert answer["receipt"]["model_version_id"] == system["model"]["model_version_id"]
    assert answer["receipt"]["seq"] > 0
    assert re.fullmatch(r"(\w+;dur=\d+\.\d(, )?)+", response.headers["server-timing"])
    assert "total;dur=" in response.headers["server-timing"]


def test_a_receipt_sent_back_gives_the_same_list(client, ready, found):
    body = {"text": "a red circle", "filter": {"video_ids": [ready["id"]]}}
    receipt = client.post("/v1/search", json=body).json()["receipt"]
    again = client.post("/v1/search", json={**body, "receipt": receipt}).json()
    assert again["moments"] == found
    assert again["receipt"] == receipt
    gone = client.post("/v1/search", json={**body, "receipt": {**receipt, **NO_GENERATION}})
    check_problem(gone, 409, "generation_gone")
    torn = client.post("/v1/search", json={**body, "receipt": {"seq": 1}})
    check_problem(torn, 422, "invalid_input")


def test_an_explanation_says_why_a_video_is_found_or_not(client, ready, found):
    body = {"text": "a red circle", "video_id": ready["id"]}
    only = {"filter": {"video_ids": [ready["id"]]}}
    told = client.post("/v1/search/explain", json={**body, **only}).json()
    assert told["reasons"][-1] == "found"
    assert told["best_segment"]["ordinal"] in found[0]["segments"]
    assert told["best_segment"]["rank"] == 1
    assert told["video"]["state"] == "ready"
    assert told["filters"] == [{"name": "video_ids", "passes": True}]
    assert told["generation"]["id"] == told["receipt"]["generation_id"]
    other = {"filter": {"tags": ["no such tag"], "max_duration_s": 0.0}}
    told = client.post("/v1/search/explain", json={**body, **other}).json()
    assert told["reasons"] == ["filtered_out"]
    assert told["why"] == "The filter leaves the video out: tags, max_duration_s."


def test_a_video_that_waits_is_explained_and_an_unknown_one_is_not(client, queued):
    body = {"text": "a red circle", "video_id": queued["id"]}
    told = client.post("/v1/search/explain", json=body).json()
    assert (told["reasons"], told["is_indexed"]) == (["queued"], False)
    unknown = client.post("/v1/search/explain", json={**body, "video_id": str(uuid4())})
    check_problem(unknown, 404, "not_found")


def test_get_finds_the_same_as_post(client, ready, found):
    response = client.get(
        "/v1/search", params={"text": "a red circle", "video_id": ready["id"], "limit": 3}
    )

    assert response.json()["moments"] == found
    check_problem(client.get("/v1/search"), 422)
    check_problem(client.get("/v1/search?text=a&limit=0"), 422)


def test_filters_decide_which_videos_are_found(client, ready, found):  # noqa: ARG001
    tag = uuid4().hex
    client.patch(f"/v1/videos/{ready['id']}", json={"tags": [tag, "walk"]})

    def ids(**wanted):
        body = {"text": "a dog", "limit": 100, "filter": wanted}
        moments = client.post("/v1/search", json=body).json()["moments"]
        return {moment["video_id"] for moment in moments}

    assert ids(tags=[tag]) == {ready["id"]}
    assert ids(tags=[tag, "other"]) == set()
    assert ids(video_ids=[ready["id"]]) == {ready["id"]}
    assert ids(video_ids=[]) == set()
    assert ready["id"] not in ids(created_before="2000-01-01T00:00:00Z")
    assert ids(tags=[tag], created_after="2000-01-01T00:00:00Z") == {ready["id"]}
    assert ids(tags=[tag], min_duration_s=10_000) == set()


def test_pages_of_a_search_neither_repeat_nor_skip(api, client, tmp_path):
    tag = uuid4().hex
    uploads = []
    for number in range(5):
        content = send_video_of(client, tmp_path, number, tag)
        api.ingest(content, count=1, seed=number)
        uploads.append(content["id"])
    body = {"text": "a dog", "limit": 2, "filter": {"tags": [tag]}, "group_by": "video"}
    poll(lambda: len(client.post("/v1/search", json={**body, "limit": 9}).json()["moments"]) == 5)

    pages, cursor = [], None
    while True:
        answer = client.post("/v1/search", json={**body, "cursor": cursor}).json()
        pages.append([moment["video_id"] for moment in answer["moments"]])
        cursor = answer["next_cursor"]
        if cursor is None:
            break

    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(itertools.chain(*pages)) == sorted(uploads)


def send_video_of(client, tmp_path, number: int, tag: str) -> dict:
    from tests import factories  # noqa: PLC0415 (video files are slow to make)

    path = tmp_path / f"{number}.mp4"
    factories.write_video(path, duration_s=0.5, size=(500 + 2 * number, 50))
    content = path.read_bytes() + uuid4().bytes
    response = send_video(client, content, data={"metadata": f'{{"tags": ["{tag}"]}}'})
    assert response.status_code == 202, response.text
    return response.json()


def test_waiting_for_a_change_that_never_comes_is_a_503(client):
    response = client.post("/v1/search", json={"text": "a dog", "min_seq": 10**12})

    check_problem(response, 503, "index_behind")
    assert int(response.headers["retry-after"]) >= 1


def test_more_searches_than_may_wait_are_told_to_come_back(make_api):
    api = make_api(search_queue=1)
    api.wait_until_ready()
    statuses = []

    def search(number: int) -> None:
        body = {"text": f"text {number}", "min_seq": 10**12}  # takes two seconds each
        statuses.append(crowd.post("/v1/search", json=body))

    with api.client(limits=httpx.Limits(max_connections=60)) as crowd:
        threads = [threading.Thread(target=search, args=(number,)) for number in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    reasons = {check_problem(one, 503)["reason"] for one in statuses}
    assert reasons == {"too_busy", "index_behind"}
    with api.client() as client:
        assert client.get("/healthz").is_success


def test_the_list_can_be_paged_and_filtered(client, tmp_path):
    tag = uuid4().hex
    ids = [send_video_of(client, tmp_path, number, tag)["id"] for number in range(3)]

    first = client.get("/v1/videos", params={"tag": tag, "limit": 2}).json()
    second = client.get(
        "/v1/videos", params={"tag": tag, "limit": 2, "cursor": first["next_cursor"]}
    ).json()

    assert [video["id"] for video in first["videos"] + second["videos"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert not client.get("/v1/videos", params={"tag": tag, "state": "ready"}).json()["videos"]
    both = client.get(f"/v1/videos?tag={tag}&state=queued&state=failed").json()["videos"]
    assert len(both) == 3
    check_problem(client.get("/v1/videos?state=lost"), 422)


def test_a_description_can_be_changed(client, queued):
    own = f"/v1/videos/{queued['id']}"

    changed = client.patch(own, json={"title": "New", "tags": ["a"], "fields": {"x": {"y": 1}}})
    kept = client.patch(own, json={})

    assert changed.json()["title"] == "New"
    for name in ("title", "tags", "fields"):
        assert kept.json()[name] == client.get(own).json()[name] == changed.json()[name]
    for wrong in (
        {"title": ""},
        {"title": "x" * 1000},
        {"tags": [""]},
        {"tags": ["x"] * 2 + [f"{n}" for n in range(60)]},
        {"fields": {"x": "y" * 70_000}},
        {"state": "ready"},
    ):
        check_problem(client.patch(own, json=wrong), 422)
    assert client.get(own).json()["title"] == "New"
