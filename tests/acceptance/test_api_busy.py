"""An API that has too much to do says so, and goes on."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg

from service.api.admission import SEARCH_THREADS
from tests.faults.proxy import CuttableProxy, Line


def test_a_database_that_others_hold_is_said_to_be_busy(make_api):
    api = make_api(database_wait_s=2)
    api.wait_until_ready()  # until then it writes by itself
    holder = sqlite3.connect(api.settings.data_dir / "reelseek.sqlite", isolation_level=None)
    with api.client() as client:
        holder.execute("BEGIN IMMEDIATE")
        answer = client.post("/v1/keys", json={"name": "late", "scopes": ["read"]})
        assert (answer.status_code, answer.json()["reason"]) == (503, "database_busy")
        assert answer.headers["Retry-After"]
        assert client.get("/v1/videos").status_code == 200  # who only reads waits for nobody
        holder.rollback()
        answer = client.post("/v1/keys", json={"name": "later", "scopes": ["read"]})
        assert answer.status_code == 201
    holder.close()


def test_the_figures_that_alarms_live_on_are_told_without_a_database(make_api, postgres_server):
    name = f"away_{uuid4().hex}"
    with psycopg.connect(f"{postgres_server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_reelseek")
    proxy = CuttableProxy(int(postgres_server.rsplit(":", 1)[1].strip("/")))
    url = f"postgresql://reelseek@127.0.0.1:{proxy.port}/{name}"
    try:
        api = make_api(database_url=url)
        api.wait_until_ready()
        with api.client() as client:
            assert "reelseek_replica_ready 1.0" in client.get("/metrics").text
            proxy.set_line(Line.CUT)
            figures = client.get("/metrics").text
        assert "reelseek_replica_ready 0.0" in figures
        assert "reelseek_disk_free_bytes" in figures
    finally:
        proxy.close()


def test_searches_beyond_the_queue_are_refused_and_the_others_answered(make_api):
    api = make_api(search_queue=1)
    api.wait_until_ready()

    def search(number):
        with api.client() as client:
            return client.post("/v1/search", json={"text": f"a ball {number}"})

    with ThreadPoolExecutor(3 * SEARCH_THREADS) as pool:
        answers = list(pool.map(search, range(6 * SEARCH_THREADS)))

    assert {answer.status_code for answer in answers} <= {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["reason"] == "too_busy"
            assert answer.headers["Retry-After"]
    assert search(-1).status_code == 200
