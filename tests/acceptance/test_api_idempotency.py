"""Idempotency-Key: what is sent again is carried out once."""

import threading
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import func, select, update

from service import idempotency
from service.api.once import Once
from service.catalog.door_tables import ApiKey
from service.catalog.session import in_transaction, last_word
from service.catalog.tables import IdempotencyKey, KeyState, utc_now
from service.errors import ConflictError
from service.idempotency import IdempotencyToken, KeptAnswer, Reservation
from tests.acceptance.test_api_errors import check_problem

CREATED = {"201", "202"}


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


@pytest.fixture
def name():
    return f"set {uuid4().hex}"


@pytest.fixture
def new_set(ready, name):
    """A set of queries to be made."""
    return {"name": name, "queries": [{"text": "a bar moves", "video_id": ready["id"]}]}


def versions(client, name):
    sets = client.get("/v1/evaluation-sets", params={"all_versions": True}).json()["sets"]
    return [one["version"] for one in sets if one["name"] == name]


def test_every_creating_route_takes_a_key(client):
    described = client.get("/openapi.json").json()["paths"]

    missing = [
        path
        for path, operations in described.items()
        for method, operation in operations.items()
        if method == "post" and CREATED & set(operation["responses"])
        if "Idempotency-Key" not in {one["name"] for one in operation.get("parameters", ())}
        or "409" not in operation["responses"]
    ]

    assert missing == []


def test_the_same_request_again_gets_the_same_answer(client, new_set, name):
    headers = key()

    first = client.post("/v1/evaluation-sets", json=new_set, headers=headers)
    again = client.post("/v1/evaluation-sets", json=new_set, headers=headers)
    other_key = client.post("/v1/evaluation-sets", json=new_set, headers=key())

    assert first.status_code == again.status_code == 201, first.text
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    assert other_key.status_code == 201
    assert sorted(versions(client, name)) == [1, 2]


def test_a_key_of_another_request_is_refused(client, new_set, ready):
    headers = key()
    client.post("/v1/evaluation-sets", json=new_set, headers=headers)
    caption = {"text": "a bar moves"}

    for path, body in (
        ("/v1/evaluation-sets", {**new_set, "name": "other"}),
        ("/v1/evaluation-sets?x=1", new_set),
        (f"/v1/videos/{ready['id']}/captions", caption),
    ):
        response = client.post(path, json=body, headers=headers)
        check_problem(response, 409, "idempotency_key_reused")
    upload = client.post("/v1/videos", files={"file": ("a.mp4", b"x")}, headers=headers)
    check_problem(upload, 422)


def test_keys_of_others_are_others(api, client, new_set, name):
    made = client.post("/v1/keys", json={"name": "other", "scopes": ["write"]}).json()
    headers = key()

    client.post("/v1/evaluation-sets", json=new_set, headers=headers)
    with api.client(made["key"]) as other:
        response = other.post("/v1/evaluation-sets", json=new_set, headers=headers)

    assert response.status_code == 201
    assert sorted(versions(client, name)) == [1, 2]


def test_what_failed_may_be_tried_again_with_the_same_key(client, new_set, name):
    headers = key()
    bad = {"name": name, "queries": [{"text": "x", "video_id": str(uuid4())}]}

    for _ in range(2):
        check_problem(client.post("/v1/evaluation-sets", json=bad, headers=headers), 422)
    made = client.post("/v1/evaluation-sets", json=new_set, headers=headers)

    assert made.status_code == 201, made.text


def test_a_key_that_cannot_be_kept_is_refused(client, new_set):
    for wrong in ("x" * 256, "a b", b"\xc3\xa9", ""):
        headers = {"Idempotency-Key": wrong}
        check_problem(client.post("/v1/evaluation-sets", json=new_set, headers=headers), 422)


def test_a_secret_is_shown_once_and_kept_nowhere(api, client):
    headers, body = key(), {"name": uuid4().hex, "scopes": ["read"]}

    made = client.post("/v1/keys", json=body, headers=headers)
    again = client.post("/v1/keys", json=body, headers=headers)

    problem = check_problem(again, 409, "secret_shown_once")
    assert made.json()["id"] in problem["detail"]
    with api.state.reads() as session:
        kept = session.get(IdempotencyKey, ("settings", headers["Idempotency-Key"]))
        assert made.json()["key"] not in str(kept.response)
        assert session.scalar(select(func.count()).where(ApiKey.name == body["name"])) == 1


def test_requests_at_the_same_time_make_one_thing(api, client, new_set, name):
    headers, answers = key(), []
    start = threading.Barrier(4)

    def race():
        with api.client() as racer:
            start.wait()
            answers.append(racer.post("/v1/evaluation-sets", json=new_set, headers=headers))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert versions(client, name) == [1]
    assert {answer.status_code for answer in answers} <= {201, 409}
    for answer in answers:
        if answer.status_code == 409:
            check_problem(answer, 409, "idempotency_in_progress")
            assert int(answer.headers["retry-after"]) > 0
    settled = client.post("/v1/evaluation-sets", json=new_set, headers=headers)
    assert settled.status_code == 201


def test_each_kind_of_thing_can_be_asked_for_twice(client, ready, new_set):
    made = client.post("/v1/evaluation-sets", json=new_set).json()
    receipt = client.post("/v1/search", json={"text": "a bar"}).json()["receipt"]
    verdict = {"text": "a bar", "verdict": "right", "video_id": ready["id"], "receipt": receipt}
    csv = {"Content-Type": "text/csv"}

    for path, options in (
        (f"/v1/videos/{ready['id']}/captions", {"json": {"text": uuid4().hex}}),
        ("/v1/feedback", {"json": verdict}),
        (f"{made['links']['runs']}", {}),
        (
            f"/v1/evaluation-sets/import?name={uuid4().hex}&format=csv",
            {"content": f"text,video\na bar,{ready['id']}\n", "headers": csv},
        ),
    ):
        sent = {**options, "headers": {**key(), **options.get("headers", {})}}
        first = client.post(path, **sent)
        again = client.post(path, **sent)
        assert first.status_code in {200, 201, 202}, first.text
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again.headers["idempotency-replayed"] == "true"


@pytest.fixture
def token():
    return IdempotencyToken(owner="somebody", key=uuid4().hex)


def make_something(session):
    session.add(ApiKey(name="made", digest=uuid4().hex, scopes=[]))


def test_a_request_that_was_killed_before_its_commit_is_carried_out_by_the_next(sessions, token):
    first = idempotency.begin(sessions, token, "digest", lease_s=60)
    with pytest.raises(ConflictError) as early:
        idempotency.begin(sessions, token, "digest")
    end_lease(sessions, token)

    second = idempotency.begin(sessions, token, "digest")

    assert early.value.reason == "idempotency_in_progress"
    assert isinstance(second, Reservation)
    with pytest.raises(ConflictError):  # the first was only slow, and comes too late
        work(sessions, first)
    work(sessions, second)
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ApiKey)) == 1


def test_a_request_that_was_killed_after_its_commit_is_not_carried_out_again(sessions, token):
    work(sessions, idempotency.begin(sessions, token, "digest"))
    with pytest.raises(ConflictError) as early:  # its process may be about to keep the answer
        idempotency.begin(sessions, token, "digest")
    end_lease(sessions, token)

    with pytest.raises(ConflictError) as refused:
        idempotency.begin(sessions, token, "digest")

    assert early.value.reason == "idempotency_in_progress"
    assert refused.value.reason == "idempotency_answer_lost"


def test_an_answer_outlives_its_request(sessions, token):
    reservation = idempotency.begin(sessions, token, "digest")
    work(sessions, reservation)
    answer = KeptAnswer(status=201, headers={"location": "/v1/x"}, body='{"a": "ü"}')
    idempotency.keep(sessions, reservation, answer)
    idempotency.release(sessions, reservation, even_if_done=True)

    assert idempotency.begin(sessions, token, "digest") == answer


def test_an_exception_lets_go_only_of_what_wrote_nothing(sessions, token):
    async def fail(*, writes: bool) -> None:
        once = Once()
        once.identify(token, sessions)
        await once.begin(b"asked")
        if writes:
            with last_word(once.mark):
                await anyio.to_thread.run_sync(in_transaction, sessions, make_something)
        await once.give_up(even_if_done=False)

    anyio.run(lambda: fail(writes=False))
    anyio.run(lambda: fail(writes=True))

    with sessions() as session:
        kept = session.get(IdempotencyKey, (token.owner, token.key))
        assert kept.state is KeyState.DONE
    with pytest.raises(ConflictError) as refused:  # at once, not after the lease
        anyio.run(lambda: fail(writes=False))
    assert refused.value.reason == "idempotency_answer_lost"


def work(sessions, reservation):
    with last_word(lambda session: idempotency.mark_done(session, reservation)):
        in_transaction(sessions, make_something)


def end_lease(sessions, token):
    with sessions.begin() as session:
        over = utc_now().replace(year=2020)
        session.execute(
            update(IdempotencyKey).where(IdempotencyKey.key == token.key).values(lease_until=over)
        )
