"""Webhooks, as the admins who make them meet them."""

import pytest

from service.catalog.session import in_transaction
from service.catalog.webhook_queries import Event, announce
from tests.acceptance.test_api_errors import UNKNOWN, check_problem

URL = "https://hooks.example/reelseek?token=1"


@pytest.fixture
def make(client):
    made = []

    def make(**body):
        response = client.post("/v1/webhooks", json={"url": URL, **body})
        assert response.status_code == 201, response.text
        made.append(response.json()["id"])
        return response

    yield make
    for webhook_id in made:
        client.delete(f"/v1/webhooks/{webhook_id}")


def test_a_webhook_is_made_listed_changed_and_deleted(client, make):
    response = make(events=["video.ready", "video.failed"])

    made = response.json()
    here = f"/v1/webhooks/{made['id']}"
    assert response.headers["location"] == here
    assert response.headers["cache-control"] == "no-store"
    assert made.pop("secret").startswith("whsec_")
    assert made | {"id": "", "created_at": ""} == {
        "id": "",
        "url": URL,
        "events": ["video.ready", "video.failed"],
        "is_enabled": True,
        "disabled_reason": None,
        "failing_since": None,
        "rests_until": None,
        "old_secret_until": None,
        "created_at": "",
        "links": {"self": here, "deliveries": f"{here}/deliveries"},
    }
    assert client.get(here).json() == made
    assert made in client.get("/v1/webhooks").json()["webhooks"]

    changed = client.patch(here, json={"events": ["*"], "is_enabled": False}).json()
    assert changed == made | {"events": ["*"], "is_enabled": False}
    assert client.delete(here).status_code == 204
    for method in ("GET", "DELETE"):
        check_problem(client.request(method, here), 404, "not_found")


def test_the_secret_is_shown_once(client, make):
    made = make().json()
    here = f"/v1/webhooks/{made['id']}"

    rotated = client.post(f"{here}/rotate")

    assert rotated.status_code == 200
    assert rotated.json()["secret"] != made["secret"]
    assert rotated.json()["old_secret_until"] is not None
    for path in (here, "/v1/webhooks", f"{here}/deliveries"):
        assert "whsec_" not in client.get(path).text
    assert "whsec_" not in client.patch(here, json={}).text


def test_a_webhook_that_is_made_twice_is_made_once(client, make):
    headers = {"Idempotency-Key": f"webhook-{make().json()['id']}"}
    body = {"url": URL, "events": ["video.deleted"]}
    made = client.post("/v1/webhooks", json=body, headers=headers).json()

    again = client.post("/v1/webhooks", json=body, headers=headers)

    assert again.status_code == 409
    assert made["secret"] not in again.text
    client.delete(f"/v1/webhooks/{made['id']}").raise_for_status()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "invalid_input"),
        ({"url": ""}, "invalid_input"),
        ({"url": "ftp://a.example/"}, "bad_url"),
        ({"url": "https://user:pass@a.example/"}, "bad_url"),
        ({"url": "http://127.0.0.1/"}, "address_not_allowed"),
        ({"url": "http://[fd00::1]/"}, "address_not_allowed"),
        ({"url": "http://169.254.169.254/latest"}, "address_not_allowed"),
        ({"url": "https://a.example:22/"}, "port_not_allowed"),
        ({"url": URL, "events": []}, "invalid_input"),
        ({"url": URL, "events": ["video.lost"]}, "invalid_input"),
        ({"url": URL, "nonsense": 1}, "invalid_input"),
    ],
)
def test_a_wrong_webhook_is_a_422(client, make, body, reason):
    check_problem(client.post("/v1/webhooks", json=body), 422, reason)
    if "url" in body and "events" not in body and reason != "invalid_input":
        here = f"/v1/webhooks/{make().json()['id']}"
        check_problem(client.patch(here, json=body), 422, reason)


def test_what_was_told_is_listed_page_by_page(client, make, api):
    made = make(events=["import.finished"]).json()
    here = f"/v1/webhooks/{made['id']}"
    for number in range(3):
        in_transaction(
            api.state.sessions,
            lambda session, n=number: announce(session, Event.IMPORT_FINISHED, {"n": n}),
        )

    tested = client.post(f"{here}/test")

    assert tested.status_code == 202
    assert tested.json()["event"] == "webhook.test"
    first = client.get(f"{here}/deliveries", params={"limit": 3}).json()
    rest = client.get(
        f"{here}/deliveries", params={"limit": 3, "cursor": first["next_cursor"]}
    ).json()
    told = first["deliveries"] + rest["deliveries"]
    assert [one["payload"]["data"].get("n") for one in told] == [None, 2, 1, 0]
    assert rest["next_cursor"] is None
    assert {(one["state"], one["tries"], one["status"]) for one in told} == {("waiting", 0, None)}
    assert told[0]["message_id"] == f"msg_{told[0]['id'].replace('-', '')}"
    assert client.get(f"{here}/deliveries?state=given_up").json()["deliveries"] == []
    check_problem(client.get(f"{here}/deliveries?cursor=x"), 400, "bad_cursor")
    other = f"/v1/webhooks/{make().json()['id']}/deliveries"
    check_problem(client.get(other, params={"cursor": first["next_cursor"]}), 400, "bad_cursor")


def test_a_disabled_webhook_cannot_be_tested(client, make):
    here = f"/v1/webhooks/{make().json()['id']}"
    client.patch(here, json={"is_enabled": False}).raise_for_status()

    check_problem(client.post(f"{here}/test"), 409, "webhook_disabled")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", ""), ("POST", "/rotate"), ("POST", "/test"), ("GET", "/deliveries")],
)
def test_a_webhook_that_is_not_there_is_a_404(client, method, path):
    body = {} if method == "PATCH" else None
    response = client.request(method, f"/v1/webhooks/{UNKNOWN}{path}", json=body)
    check_problem(response, 404, "not_found")
