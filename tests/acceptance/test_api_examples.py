"""Each example of docs/api.md is run against the real service, in the order of the page."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from service import access
from service.catalog.session import make_engine, make_sessions
from service.settings import Settings
from tests.acceptance.live import LiveService, upload, wait_until_processed
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PREAMBLE, *EXAMPLES = EXAMPLES
ROUTES_WITHOUT_EXAMPLE = {("delete", "/v1/keys/{key_id}")}


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[LiveService]:
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    started = LiveService(tmp_path_factory.mktemp("examples"), {"REELSEEK_BUNDLE": str(bundle)})
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def environment(live, tmp_path_factory) -> Mapping[str, str]:
    """What the page presupposes: keys, a login link, uploaded videos, a file beside it."""
    if not shutil.which("curl"):
        if os.environ.get("CI"):
            pytest.fail("curl must be installed")
        pytest.skip("needs curl")
    folder = tmp_path_factory.mktemp("folder")
    make_video(folder / "clip.mp4", seed=0)
    with live.client() as client:
        uploads = [
            upload(client, make_video(folder / f"known-{n}.mp4", seed=n), tags=["test"])
            for n in (1, 2)
        ]
        for one in uploads:
            wait_until_processed(client, one["id"])
        made = client.post("/v1/keys", json={"name": "docs", "scopes": ["search", "read", "write"]})
    engine = make_engine(Settings(data_dir=live.data_dir).sqlalchemy_url)
    token = access.make_login_token(make_sessions(engine), ttl_s=600)
    engine.dispose()
    return {
        "PATH": os.environ["PATH"],
        "PWD": str(folder),
        "URL": live.url,
        "KEY": made.json()["key"],
        "ADMIN_KEY": live.admin_key,
        "LOGIN_TOKEN": token,
        "VIDEO": str(uploads[0]["id"]),
        "OTHER_VIDEO": str(uploads[1]["id"]),
        "JOB": str(uploads[0]["job_id"]),
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_example_works(example, environment):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", PREAMBLE + example],
        cwd=environment["PWD"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_route_has_an_example(live):
    with live.client() as client:
        described = client.get("/openapi.json").json()["paths"]
    page = "".join(EXAMPLES)
    missing = []
    for path, operations in described.items():
        address = re.sub(r"\\\{\w+\\\}", r"[^/\\s\"?]+", re.escape(path)) + r"[\"?\s]"
        if not re.search(address, page):
            missing += [(method, path) for method in operations]

    assert set(missing) <= ROUTES_WITHOUT_EXAMPLE
