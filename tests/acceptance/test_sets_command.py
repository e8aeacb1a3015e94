"""`reelseek sets`, as a person uses it, against the real service and its worker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.live import LiveService, upload, wait_until_processed
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video

ANSWER_S = 600.0
"""Runs have the lowest priority: where others work, even the import of torch takes a minute."""

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[LiveService]:
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    started = LiveService(tmp_path_factory.mktemp("sets"), {"REELSEEK_BUNDLE": str(bundle)})
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def reelseek(live):
    """Run the command: `reelseek("sets", "list")`."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "REELSEEK_DATA_DIR": str(live.data_dir),
        "REELSEEK_PORT": str(live.port),
        "REELSEEK_API_KEY": live.admin_key,
    }

    def reelseek(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )

    return reelseek


@pytest.fixture(scope="module")
def questions(live, tmp_path_factory) -> Path:
    """A file about two videos that can be searched."""
    folder = tmp_path_factory.mktemp("videos")
    with live.client() as client:
        for n in range(2):
            path = make_video(folder / f"clip-{n}.mp4", seed=n)
            wait_until_processed(client, upload(client, path)["id"])
    file = folder / "kitchen.csv"
    file.write_text("text,video,start_s,end_s\na red circle,clip-0.mp4,,\na dog,clip-1.mp4,0,0.4\n")
    return file


def test_a_file_becomes_a_set_that_is_run_and_has_a_history(reelseek, questions):
    imported = reelseek("sets", "import", questions)
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith("kitchen, version 1: 2 queries. Run it with")
    assert "never run" in reelseek("sets", "history", "kitchen").stdout

    first = reelseek("sets", "run", "kitchen", "--json")
    second = reelseek("sets", "run", "kitchen")

    run = json.loads(first.stdout)
    assert (first.returncode, run["state"], run["figures"]["measured"]) == (0, "done", 2)
    assert second.returncode == 0, second.stderr
    assert "2 of 2 queries among" in second.stdout
    assert "R@1 since the run before: +0 (+0 to +0)." in second.stdout
    history = reelseek("sets", "history", "kitchen")
    assert history.stdout.count("done") == 2
    assert "+0 (+0 to +0)" in history.stdout
    listed = json.loads(reelseek("sets", "list", "--json").stdout)
    assert [(one["name"], one["version"]) for one in listed] == [("kitchen", 1)]
    assert (
        listed[0]["last_run"]["id"]
        == json.loads(reelseek("sets", "history", "kitchen", "--json").stdout)[0]["id"]
    )
    assert "kitchen" in reelseek("sets", "list").stdout


def test_a_run_need_not_be_waited_for(reelseek, questions):
    reelseek("sets", "import", questions, "--name", "later")

    done = reelseek("sets", "run", "later", "--no-wait")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Queued: run ")


@pytest.mark.parametrize(
    ("content", "suffix", "said"),
    [
        ("text,video\na,nothing.mp4\n", "csv", "line 2: There is no video 'nothing.mp4'."),
        ("a,b\n", "csv", "must name its columns"),
        ("{", "jsonl", "Line 1 is not JSON."),
        ("a", "txt", "ends neither with .csv nor with .jsonl"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(reelseek, tmp_path, content, suffix, said):
    file = tmp_path / f"set.{suffix}"
    file.write_text(content)

    done = reelseek("sets", "import", file)

    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "history"])
def test_an_unknown_set_is_one_sentence(reelseek, command):
    done = reelseek("sets", command, "nobody")

    assert done.returncode == 2
    assert "There is no set 'nobody'" in done.stderr
