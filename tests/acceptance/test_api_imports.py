"""Imports, as clients of the API meet them; the worker's part is tested with the worker."""

import pytest

from tests.acceptance.test_api_errors import UNKNOWN, check_problem

URL = "https://videos.example/a.mp4?token=secret"


def ask(client, *urls, **body):
    wanted = {"urls": [{"url": url} for url in urls], **body} if urls else body
    return client.post("/v1/imports", json=wanted)


def test_an_import_is_asked_for_looked_at_and_cancelled(client):
    response = ask(client, URL, "https://videos.example/b.mp4", tags=["new"])

    made = response.json()
    here = f"/v1/imports/{made['id']}"
    assert response.status_code == 202
    assert response.headers["location"] == here
    assert made | {"id": "", "job_id": "", "created_at": "", "links": {}} == {
        "id": "",
        "job_id": "",
        "kind": "urls",
        "folder": None,
        "bucket": None,
        "state": "queued",
        "stage": None,
        "percent": 0.0,
        "is_listed": True,
        "items": {"waiting": 2, "accepted": 0, "duplicate": 0, "refused": 0},
        "reason": None,
        "detail": None,
        "created_at": "",
        "finished_at": None,
        "links": {},
    }
    assert client.get(made["links"]["job"]).json()["kind"] == "import"
    assert client.get(here).json() == made
    assert client.get("/v1/imports?limit=1").json()["imports"] == [made]

    cancelled = client.post(made["links"]["cancel"]).json()
    assert (cancelled["state"], cancelled["items"]["refused"]) == ("cancelled", 2)
    check_problem(client.post(made["links"]["cancel"]), 409, "already_ended")


def test_items_come_page_by_page_without_what_may_be_secret(client):
    here = ask(client, URL, *(f"https://videos.example/{n}" for n in range(4))).json()["links"]

    first = client.get(f"{here['self']}/items?limit=3").json()
    rest = client.get(f"{here['self']}/items", params={"after": first["next_after"]}).json()

    assert first["items"][0] == {
        "ordinal": 0,
        "source": "https://videos.example/a.mp4?...",
        "state": "waiting",
        "size_bytes": None,
        "video_id": None,
        "reason": None,
        "detail": None,
    }
    assert [one["ordinal"] for one in first["items"] + rest["items"]] == [0, 1, 2, 3, 4]
    assert rest["next_after"] is None
    assert client.get(f"{here['self']}/items?state=refused").json()["items"] == []
    client.post(here["cancel"]).raise_for_status()
    assert "secret" not in client.get(f"{here['self']}/items").text


def test_pages_of_imports_follow_each_other(client):
    made = [ask(client, f"https://videos.example/{n}").json()["id"] for n in range(3)]

    first = client.get("/v1/imports?limit=2").json()
    second = client.get("/v1/imports", params={"limit": 1, "cursor": first["next_cursor"]}).json()

    assert [one["id"] for one in first["imports"] + second["imports"]] == made[::-1]
    check_problem(client.get("/v1/imports?cursor=x"), 400, "bad_cursor")


def test_an_import_that_is_asked_twice_is_one(client):
    headers = {"Idempotency-Key": "import-0001"}
    body = {"urls": [{"url": URL}]}

    first, again = (client.post("/v1/imports", json=body, headers=headers) for _ in range(2))

    assert (again.status_code, again.json()) == (202, first.json())
    other = client.post("/v1/imports", json={"urls": [{"url": URL + "x"}]}, headers=headers)
    check_problem(other, 409, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "invalid_input"),
        ({"urls": []}, "invalid_input"),
        ({"urls": [{"url": URL}], "folder": "."}, "invalid_input"),
        ({"urls": [{"url": URL, "title": " "}]}, "invalid_input"),
        ({"urls": [{"url": URL, "tags": ["\u0000"]}]}, "invalid_input"),
        ({"urls": [{"url": URL, "nonsense": 1}]}, "invalid_input"),
        ({"urls": [{"url": "file:///etc/passwd"}]}, "bad_url"),
        ({"urls": [{"url": URL}, {"url": "http://127.0.0.1:8000/v1/keys"}]}, "address_not_allowed"),
        ({"urls": [{"url": "http://a.example:6379/"}]}, "port_not_allowed"),
        ({"folder": "."}, "no_import_folder"),
        ({"bucket": {"url": "bucket"}}, "bad_bucket"),
        (
            {"bucket": {"url": "s3://bucket", "endpoint": "http://10.0.0.1"}},
            "endpoint_not_allowed",
        ),
    ],
)
def test_a_wrong_import_is_a_422(client, body, reason):
    check_problem(client.post("/v1/imports", json=body), 422, reason)


def test_a_bucket_is_for_admins(api, client):
    key = client.post("/v1/keys", json={"name": "writer", "scopes": ["write"]}).json()["key"]
    with api.client(key) as writer:
        check_problem(ask(writer, bucket={"url": "s3://bucket"}), 403, "forbidden")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/items"), ("POST", "/cancel")])
def test_an_import_that_is_not_there_is_a_404(client, method, path):
    check_problem(client.request(method, f"/v1/imports/{UNKNOWN}{path}"), 404, "not_found")
