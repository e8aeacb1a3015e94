"""The whole way: the command asks, a courier fetches, a worker ingests, a webhook is told."""

import json
import os
import subprocess
import sys

import pytest

from tests.acceptance.live import LiveService, wait_for
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.hostile_servers import content, running_server

TRIES = 5


@pytest.fixture
def service(tmp_path):
    environment = {
        "REELSEEK_BUNDLE": str(make_tiny_bundle(tmp_path / "bundle")),
        "REELSEEK_OUTBOUND_ALLOW": "127.0.0.1",
    }
    live = LiveService(tmp_path / "data", environment)
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.stop()


@pytest.fixture
def reelseek(service):
    """Run the command with an admin key: `reelseek("import", url)` -> exit code, JSON."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *arguments, "--json"],
            env={
                **os.environ,
                "REELSEEK_URL": service.url,
                "REELSEEK_API_KEY": service.admin_key,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def reelseek(*arguments):
        for _ in range(TRIES):
            done = run(*arguments)
            if "try again" not in done.stderr:  # a machine that has much to do says so
                break
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return reelseek


@pytest.mark.slow
def test_a_video_is_imported_and_a_webhook_told(service, reelseek, tmp_path):
    video = make_video(tmp_path / "clip.mp4", seconds=2).read_bytes()
    with running_server({"/clip.mp4": content(video), "/hook": content(b"")}) as server:
        code, webhook = reelseek("webhooks", "create", f"{server.url}/hook")
        assert (code, webhook["secret"][:6]) == (0, "whsec_")

        _, tested = reelseek("webhooks", "test", webhook["id"])
        assert tested["event"] == "webhook.test"

        addresses = (f"{server.url}/clip.mp4", f"{server.url}/missing.mp4")
        code, done = reelseek("import", *addresses, "--tag", "live")
        assert (code, done["state"]) == (1, "done")
        assert [(one["state"], one["reason"]) for one in done["files"]] == [
            ("accepted", None),
            ("refused", "http_status"),
        ]

        def told():
            return {json.loads(body)["type"] for _, path, _, body in server.seen if path == "/hook"}

        expected = {"webhook.test", "import.finished", "video.ready"}
        wait_for(lambda: told() >= expected, within_s=120, what=f"{expected}: {service.output}")
        with service.client() as client:
            video = client.get(f"/v1/videos/{done['files'][0]['video_id']}").json()
        assert (video["state"], video["tags"], video["title"]) == ("ready", ["live"], "clip")
        assert reelseek("webhooks", "list")[1][0]["id"] == webhook["id"]
