"""The `reelseek` command, as a person uses it, against the real service."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.live import LiveService, wait_for
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.servers import free_port

ANSWER_S = 120.0
RESTART_S = 60.0


class Command:
    """Runs `reelseek` with the settings of one service."""

    def __init__(self, live: LiveService, bundle: Path) -> None:
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
            "OMP_NUM_THREADS": "1",
            "REELSEEK_BUNDLE": str(bundle),
            "REELSEEK_DATA_DIR": str(live.data_dir),
            "REELSEEK_PORT": str(live.port),
        }

    def __call__(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *map(str, arguments)],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def live(tmp_path_factory, bundle) -> Iterator[LiveService]:
    started = LiveService(tmp_path_factory.mktemp("command"), {"REELSEEK_BUNDLE": str(bundle)})
    try:
        started.wait_until_ready()
        yield started
    finally:
        code = started.stop()
    assert code == 0
    assert "Traceback" not in started.output
    assert "Stopped." in started.output


@pytest.fixture(scope="module")
def reelseek(live, bundle) -> Command:
    return Command(live, bundle)


@pytest.fixture(scope="module")
def videos(tmp_path_factory, reelseek) -> list[Path]:
    """Two videos that were uploaded."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [make_video(folder / f"clip-{n}.mp4", seed=n) for n in range(2)]
    done = reelseek("ingest", folder, "--tag", "first")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 videos can be searched." in done.stdout
    return paths


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return what it printed as its failure: one sentence, no traceback."""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("reelseek: ")
    return line


def test_uploading_again_is_harmless_and_said(reelseek, videos):
    done = reelseek("ingest", *videos, "--json")

    uploads = json.loads(done.stdout)
    assert done.returncode == 0
    assert [upload["is_duplicate"] for upload in uploads] == [True, True]
    assert [upload["state"] for upload in uploads] == ["ready", "ready"]


def test_a_refused_file_is_named_with_the_reason_and_the_others_go_in(reelseek, videos, tmp_path):
    nonsense = tmp_path / "nonsense.mp4"
    nonsense.write_bytes(b"no video" * 500)

    done = reelseek("ingest", nonsense, videos[0], "--json")

    refused, known = json.loads(done.stdout)
    assert done.returncode == 1
    assert (refused["state"], refused["reason"]) == ("refused", "not_a_video")
    assert known["state"] == "ready"


def test_a_refused_file_says_why_to_people_too(reelseek, tmp_path):
    nonsense = tmp_path / "nonsense.mp4"
    nonsense.write_bytes(b"no video" * 500)

    done = reelseek("ingest", nonsense, COLUMNS="200")

    (line,) = [line for line in done.stderr.splitlines() if "nonsense.mp4:" in line]
    assert "refused" in line
    assert "uploading" not in done.stderr.splitlines()[-1]


def test_ingesting_what_does_not_exist_is_one_sentence(reelseek):
    done = reelseek("ingest", "/nowhere/clip.mp4")

    assert done.returncode == 1
    assert "/nowhere/clip.mp4 does not exist" in sentence(done)


@pytest.mark.usefixtures("videos")
def test_search_prints_a_table_whose_links_are_whole(reelseek, live):
    done = reelseek("search", "a red circle", "--limit", "2")

    header, *rows = done.stdout.splitlines()
    assert done.returncode == 0
    assert header.split() == ["#", "From", "-", "to", "Similarity", "Match", "Video", "Link"]
    assert len(rows) == 2
    link = re.search(rf"{live.url}/v1/videos/\S+/content#t=\S+", rows[0])
    assert link
    with live.client() as client:
        assert client.get(link.group().partition("#")[0]).status_code == 200


@pytest.mark.usefixtures("videos")
def test_search_as_json_is_the_answer_of_the_api(reelseek):
    done = reelseek("search", "a red circle", "--json", "--tag", "first", "--by-video")

    answer = json.loads(done.stdout)
    assert {moment["title"] for moment in answer["moments"]} == {"clip-0", "clip-1"}
    assert answer["receipt"]


@pytest.mark.usefixtures("videos")
def test_explain_says_why_a_video_is_found_or_not(reelseek, live):
    with live.client() as client:
        video = client.get("/v1/videos").json()["videos"][0]
    done = reelseek("explain", "a red circle", video["id"], "--at", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{video['title']}: ")
    assert "It is shown as number" in done.stdout
    assert "Frame at" in done.stdout
    left_out = reelseek("explain", "a red circle", video["id"], "--tag", "no such tag", "--json")
    assert json.loads(left_out.stdout)["reasons"] == ["filtered_out"]
    by_name = reelseek("explain", "a red circle", video["file_name"], "--json")
    assert json.loads(by_name.stdout)["video"]["id"] == video["id"]
    unknown = reelseek("explain", "a red circle", "00000000-0000-4000-8000-000000000000")
    assert unknown.returncode == 1
    assert "There is no video" in sentence(unknown)


def test_search_says_what_is_wrong_with_a_text(reelseek):
    done = reelseek("search", "x" * 2000)

    assert done.returncode == 1
    assert "characters" in sentence(done)


def test_a_service_that_does_not_run_is_said_with_the_next_step(reelseek):
    done = reelseek("search", "anything", REELSEEK_URL="http://127.0.0.1:9")

    assert done.returncode == 1
    assert "make run" in sentence(done)


def test_a_wrong_key_is_said_with_the_next_step(reelseek):
    done = reelseek("search", "anything", REELSEEK_API_KEY="rsk_wrong")

    assert done.returncode == 1
    assert "keys create" in sentence(done)


def test_a_wrong_setting_is_named(reelseek):
    done = reelseek("search", "anything", REELSEEK_PORT="many")

    assert done.returncode == 2
    assert "REELSEEK_PORT" in sentence(done)


def test_keys_are_made_listed_and_revoked(reelseek, live):
    made = json.loads(reelseek("keys", "create", "player", "--scope", "read", "--json").stdout)
    bearer = {"Authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{live.url}/v1/videos", headers=bearer, timeout=60).status_code == 200
    listed = reelseek("keys", "list")
    assert made["id"] in listed.stdout
    assert made["key"] not in listed.stdout

    assert reelseek("keys", "revoke", made["id"]).returncode == 0

    assert httpx.get(f"{live.url}/v1/videos", headers=bearer, timeout=60).status_code == 401
    assert "no key" in sentence(reelseek("keys", "revoke", made["id"]))


def test_the_local_key_is_its_owners_alone_and_no_admin_key(live):
    path = live.data_dir / "local.key"
    bearer = {"Authorization": f"Bearer {path.read_text().strip()}"}

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert httpx.get(f"{live.url}/v1/videos", headers=bearer, timeout=60).status_code == 200
    assert httpx.get(f"{live.url}/v1/keys", headers=bearer, timeout=60).status_code == 403


def test_a_command_that_lacks_a_scope_says_how_to_get_it(reelseek):
    done = reelseek("tune", "--dry-run")

    assert done.returncode == 1
    assert "scope admin. Make one with `reelseek keys create NAME" in done.stderr
    assert "REELSEEK_API_KEY" in done.stderr


def test_a_login_link_works_once(reelseek, live):
    link = reelseek("login").stdout.strip()
    address, token = link.split("/#login=")
    assert address == live.url

    answers = [
        httpx.post(f"{live.url}/v1/session", json={"token": token}, timeout=60) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 401]


def test_doctor_finds_a_running_service_well(reelseek):
    done = reelseek("doctor", "--json")

    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert {check["name"] for check in report["checks"]} >= {"FAISS", "Decoder", "Database", "API"}


def test_doctor_names_what_is_broken_and_its_mend(reelseek, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()

    done = reelseek(
        *("doctor", "--json"),
        REELSEEK_BUNDLE=str(tmp_path),
        REELSEEK_DATA_DIR=str(in_the_way / "x"),
    )

    broken = {one["name"]: one for one in json.loads(done.stdout)["checks"] if one["mend"]}
    assert done.returncode == 1
    assert "REELSEEK_BUNDLE" in broken["Model"]["mend"]
    assert "REELSEEK_DATA_DIR" in broken["Data folder"]["mend"]


@pytest.mark.usefixtures("videos")
def test_audit_finds_a_sound_service_sound_and_a_lost_file(reelseek, live, tmp_path):
    sound = reelseek("audit")
    assert sound.returncode == 0, sound.stdout
    copy = tmp_path / "copy"
    shutil.copytree(live.data_dir, copy, ignore=shutil.ignore_patterns("broker"))
    next(path for path in (copy / "blobs").rglob("*") if path.is_file()).unlink()

    found = reelseek("audit", "--json", REELSEEK_DATA_DIR=str(copy))

    assert found.returncode == 1
    kinds = {one["kind"] for one in json.loads(found.stdout)["violations"]}
    assert kinds == {"missing_file"}


def test_commands_on_the_database_make_none_where_a_folder_was_mistyped(reelseek, tmp_path):
    folder = tmp_path / "mistyped"

    done = reelseek("keys", "list", REELSEEK_DATA_DIR=str(folder))

    assert "Nothing was ever started" in sentence(done)
    assert not folder.exists()


@pytest.mark.parametrize("command", ["api", "worker"])
def test_processes_do_not_start_on_a_database_that_was_not_migrated(reelseek, tmp_path, command):
    done = reelseek(command, REELSEEK_DATA_DIR=str(tmp_path), REELSEEK_PORT="0")

    assert done.returncode == 1
    assert "migrate" in sentence(done)


def test_an_api_without_its_database_is_one_sentence(reelseek):
    nowhere = f"postgresql://reelseek@127.0.0.1:{free_port()}/reelseek"

    done = reelseek("api", REELSEEK_DATABASE_URL=nowhere, REELSEEK_PORT="0")

    assert done.returncode == 1
    assert "REELSEEK_DATABASE_URL" in sentence(done)


def test_a_port_in_use_is_one_sentence(reelseek, tmp_path):
    done = reelseek("serve", REELSEEK_DATA_DIR=str(tmp_path))

    assert done.returncode == 1
    assert "REELSEEK_PORT" in sentence(done)


def test_a_data_folder_that_cannot_be_made_is_one_sentence(reelseek, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()

    done = reelseek("serve", REELSEEK_DATA_DIR=str(in_the_way / "data"))

    assert done.returncode == 1
    assert "REELSEEK_DATA_DIR" in sentence(done)


@pytest.mark.slow
def test_a_first_start_makes_an_admin_key_and_shows_it_once(tmp_path, bundle):
    environment = {"REELSEEK_BUNDLE": str(bundle), "REELSEEK_ADMIN_KEY": ""}
    outputs = []
    for _ in range(2):
        live = LiveService(tmp_path / "data", environment)
        live.wait_until_ready()
        key = re.search(r"Admin key \(shown only now\): (\S+)", live.output)
        if key:
            bearer = {"Authorization": f"Bearer {key.group(1)}"}
            assert httpx.get(f"{live.url}/v1/keys", headers=bearer, timeout=60).status_code == 200
        live.stop()
        outputs.append(live.output)

    assert ["Admin key" in output for output in outputs] == [True, False]


@pytest.mark.slow
def test_killed_processes_come_back_and_none_is_left_at_the_end(tmp_path, bundle):
    live = LiveService(tmp_path / "data", {"REELSEEK_BUNDLE": str(bundle)})
    live.wait_until_ready()
    supervisor = psutil.Process(live.pid)
    before = {child.pid for child in supervisor.children()}
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    def are_back() -> bool:
        return len({child.pid for child in supervisor.children()} - before) == len(before)

    wait_for(are_back, within_s=RESTART_S, what="the restart")
    wait_for(
        lambda: httpx.get(f"{live.url}/readyz", timeout=RESTART_S).is_success,
        within_s=RESTART_S,
        what="the answer of the API",
    )
    family = supervisor.children(recursive=True)

    assert live.stop() == 0

    _, alive = psutil.wait_procs(family, timeout=RESTART_S)
    assert alive == []
