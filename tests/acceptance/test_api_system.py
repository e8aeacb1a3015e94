"""Health, figures, the description of the API, and the page."""

import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.test_api_errors import check_problem


def test_the_server_says_that_it_lives_and_when_it_is_ready(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").is_success


def test_a_server_without_its_model_lives_but_is_not_ready(make_api, tmp_path):
    api = make_api(bundle=tmp_path / "nothing here")

    with api.client() as client:
        assert client.get("/healthz").is_success
        assert client.get("/v1/videos").is_success
        assert client.get("/v1/system").json()["replica"]["is_ready"] is False
        for response in (client.get("/readyz"), client.post("/v1/search", json={"text": "a"})):
            check_problem(response, 503)
            assert int(response.headers["retry-after"]) > 0


def test_the_system_tells_what_a_client_must_know(api, client, ready):  # noqa: ARG001
    system = client.get("/v1/system").json()

    assert system["limits"]["upload_limit_bytes"] == api.settings.upload_limit_bytes
    assert system["model"]["spec"]["embedding_dim"] == 32
    assert system["replica"]["is_ready"] is True
    assert system["videos"]["ready"] >= 1
    assert system["segments"] >= 2
    assert system["stored_bytes"] > 0
    assert system["disk_free_bytes"] > 0


def test_the_figures_can_be_read_by_prometheus(client, ready):
    client.get(f"/v1/videos/{ready['id']}")
    client.get("/nothing/at/all")
    client.post("/v1/search", json={"text": "a dog"})

    families = {
        one.name: one for one in text_string_to_metric_families(client.get("/metrics").text)
    }

    routes = {one.labels["route"] for one in families["reelseek_request_seconds"].samples}
    assert "/v1/videos/{video_id}" in routes
    assert "unknown" in routes
    assert not [route for route in routes if ready["id"] in route or "nothing" in route]
    stages = {
        sample.labels["stage"] for sample in families["reelseek_search_stage_seconds"].samples
    }
    assert {"embed", "faiss", "sql", "total"} <= stages
    states = {sample.labels["state"] for sample in families["reelseek_jobs"].samples}
    assert states == {"queued", "running", "done", "failed", "cancelled"}
    for name in (
        *("queue_age_seconds", "replica_lag_changes", "replica_lag_seconds", "replica_ready"),
        *("disk_free_bytes", "processes", "webhook_deliveries", "import_items", "probe_seconds"),
        *("backup_timestamp_seconds", "process_resident_memory_bytes"),
    ):
        assert families[f"reelseek_{name}"].samples
    kinds = {one.labels["kind"]: one.value for one in families["reelseek_queue_depth"].samples}
    assert kinds["ingest"] >= 0
    assert "tune" in kinds


def test_the_description_is_complete(client):
    schema = client.get("/openapi.json").json()
    text = json.dumps(schema)

    assert schema["openapi"].startswith("3.1")
    named = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert named <= set(schema["components"]["schemas"])
    assert "HTTPValidationError" not in text
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            failures = {status for status in operation["responses"] if status >= "400"}
            assert "500" in failures
            if path.startswith("/v1/") and path != "/v1/session":
                assert {"401", "403"} <= failures, f"{method} {path}"
                assert operation["security"], f"{method} {path}"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere(client, path):
    response = client.get(path)

    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "http://" not in policy
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", response.text)


def test_the_files_of_the_page_are_served_and_cached_by_content(client):
    page = client.get("/")
    names = re.findall(r'(?:src|href)="([\w./-]+)"', page.text)
    assert names

    for name in names:
        response = client.get(f"/{name.lstrip('/')}")
        assert response.status_code == 200, name
        assert response.headers["cache-control"] == "no-cache"
        unchanged = client.get(
            f"/{name.lstrip('/')}", headers={"If-None-Match": response.headers["etag"]}
        )
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        if name.endswith(".js"):
            assert response.headers["content-type"].startswith("text/javascript")
    check_problem(client.get("/page.py"), 404)


def test_every_answer_forbids_guessing_its_type(client):
    for path in ("/", "/v1/videos", "/nothing", "/openapi.json"):
        response = client.get(path)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
