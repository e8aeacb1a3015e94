"""A disk that fills up: uploads are refused early, jobs wait, and all goes on when there is room.

The data folder lies on a small file system in memory, which only root can mount.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed

MIB = 1024 * 1024
SIZE_BYTES = 96 * MIB
RESERVE_BYTES = 24 * MIB
WITHIN_S = 120.0
# From linux/sched.h and linux/mount.h.
CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
SETTINGS = {
    "REELSEEK_DISK_RESERVE_BYTES": str(RESERVE_BYTES),
    "REELSEEK_DEVICE": "cpu",
    "REELSEEK_TORCH_THREADS": "1",
}


@pytest.fixture
def disk(tmp_path):
    """A folder on a file system of 96 MiB; without root it is skipped, in CI it fails."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        message = "only root can mount a small file system"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with own_mounts():
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", folder]
        subprocess.run(mount, check=True)
        yield folder


@contextmanager
def own_mounts() -> Iterator[None]:
    """What is mounted inside is seen by this thread and its children alone, and goes with them.

    So a test that is killed leaves no mount behind, which nobody could remove a folder around.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    folder = Path.cwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        call("unshare", CLONE_NEWNS)
        try:
            call("mount", None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
            yield
        finally:
            call("setns", before, CLONE_NEWNS)
            os.chdir(folder)  # setns went to the root folder
    finally:
        os.close(before)


@pytest.fixture
def service(disk, bundle_dir):
    """Everything, as its user starts it, on that disk."""
    running = LiveService(disk, {**SETTINGS, "REELSEEK_BUNDLE": str(bundle_dir)})
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
def ballast(disk):
    """Fills the disk, and makes room again."""
    return Ballast(disk / "ballast")


class Ballast:
    """A file of nothing, beside the files of the service."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, num_bytes: int) -> None:
        """Fill the disk until only so much is free."""
        found = os.statvfs(self.path.parent)
        filler = found.f_bavail * found.f_frsize - num_bytes
        if filler > 0:
            with suppress(OSError), self.path.open("ab", buffering=0) as file:
                file.write(bytes(filler))  # the service may have taken some of it meanwhile

    def drop(self) -> None:
        """Make room again."""
        self.path.unlink()


def moments(client) -> list[dict]:
    answer = client.post("/v1/search", json={"text": "a ball", "include_unsure": True})
    return answer.json()["moments"]


def test_a_full_disk_refuses_uploads_early_and_recovers_by_itself(service, ballast, make_video):
    first, second = make_video("first.mp4", duration_s=2), make_video("second.mp4", duration_s=3)
    with service.client() as client:
        video = wait_until_processed(client, upload(client, first)["id"])
        assert video["state"] == "ready"
        wait_for(lambda: moments(client), within_s=WITHIN_S, what="the video among the moments")
        ballast.leave(RESERVE_BYTES - MIB)  # what the broker takes and gives must not matter

        refused = client.post("/v1/videos", files={"file": second.read_bytes()})
        assert (refused.status_code, refused.json()["reason"]) == (507, "storage_full")
        assert moments(client)
        assert client.get("/readyz").is_success
        assert client.delete(f"/v1/videos/{video['id']}").status_code == 204

        ballast.drop()
        video = wait_until_processed(client, upload(client, second)["id"], within_s=WITHIN_S)
        assert video["state"] == "ready"


def test_a_job_on_a_full_disk_waits_and_ends_when_there_is_room(service, ballast, make_video):
    path = make_video("long.mp4", duration_s=40)
    with service.client() as client:
        wait_until_processed(client, upload(client, make_video("warm.mp4", duration_s=1))["id"])
        ballast.leave(RESERVE_BYTES + path.stat().st_size + 150_000)
        accepted = upload(client, path)

        def waits() -> dict | None:
            job = client.get(f"/v1/jobs/{accepted['job_id']}").json()
            assert job["state"] != "failed"
            return job if job["reason"] == "storage_full" else None

        job = wait_for(waits, within_s=WITHIN_S, what="the wait for room")
        assert (job["state"], job["attempts"]) == ("queued", 0)
        assert client.get(f"/v1/videos/{accepted['id']}").json()["state"] == "queued"

        ballast.drop()
        video = wait_until_processed(client, accepted["id"], within_s=WITHIN_S)
        assert (video["state"], video["reason"]) == ("ready", None)


def test_a_disk_without_a_single_byte_loses_nothing(service, ballast, make_video):
    path = make_video("kept.mp4", duration_s=2)
    with service.client() as client:
        kept = wait_until_processed(client, upload(client, path)["id"])
        ballast.leave(0)

        statuses = set()
        for number in range(20):
            answers = [
                client.post("/v1/videos", files={"file": path.read_bytes() + bytes([number])}),
                client.patch(f"/v1/videos/{kept['id']}", json={"title": f"title {number}"}),
                client.get(f"/v1/videos/{kept['id']}"),
            ]
            statuses |= {answer.status_code for answer in answers}
        assert statuses <= {200, 503, 507}
        assert 507 in statuses

        ballast.drop()
        wait_for(
            lambda: client.patch(f"/v1/videos/{kept['id']}", json={"title": "later"}).is_success,
            within_s=WITHIN_S,
            what="a write after there was room",
        )
        again = upload(client, make_video("again.mp4", duration_s=3))
        assert wait_until_processed(client, again["id"], within_s=WITHIN_S)["state"] == "ready"
        audit = subprocess.run(
            [sys.executable, "-m", "service.cli", "audit"],
            env={**os.environ, "REELSEEK_DATA_DIR": str(service.data_dir)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert audit.returncode == 0, audit.stdout + audit.stderr
