"""`reelseek audit --replica`: is the index of a running process what the database says?"""

import json
import os
import subprocess
import sys
import zlib
from uuid import UUID

from sqlalchemy import update

from service.catalog.tables import Embedding
from tests.acceptance.api_server import ADMIN_KEY, TINY_DIM, poll, send_video
from tests.factories import unit_vectors


def replica_violations(api) -> list[str]:
    """Run the command against the server and its database; other tests break other promises."""
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "audit", "--json", "--replica", api.url],
        env={
            **os.environ,
            "REELSEEK_DATA_DIR": str(api.settings.data_dir),
            "REELSEEK_DATABASE_URL": api.settings.sqlalchemy_url,
            "REELSEEK_API_KEY": ADMIN_KEY,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    found = [one["kind"] for one in json.loads(done.stdout)["violations"]]
    assert done.returncode == (1 if found else 0)
    return [kind for kind in found if kind.startswith("replica")]


def test_a_replica_that_holds_something_else_is_found(api, client, video_bytes):
    uploaded = send_video(client, video_bytes).json()
    api.ingest(uploaded)
    poll(lambda: client.get("/v1/system").json()["replica"]["lag"] == 0)
    assert replica_violations(api) == []

    with api.state.sessions.begin() as session:
        first = (Embedding.video_id == UUID(uploaded["id"]), Embedding.ordinal == 0)
        other = unit_vectors(1, seed=77, dim=TINY_DIM)[0].astype("<f2").tobytes()
        session.execute(update(Embedding).where(*first).values(vector=other, crc=zlib.crc32(other)))
    try:
        assert replica_violations(api) == ["replica_differs"]
    finally:
        client.delete(f"/v1/videos/{uploaded['id']}").raise_for_status()
