"""`reelseek captions`, as a person uses it, against a running API."""

import json
import os
import subprocess
import sys

import pytest

from tests.acceptance.api_server import ADMIN_KEY, send_video

pytestmark = pytest.mark.parametrize("api", ["sqlite"], indirect=True)


@pytest.fixture
def reelseek(api, tmp_path):
    """Run the command: `reelseek("captions", "list")`."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
        "COLUMNS": "200",
        "REELSEEK_API_KEY": ADMIN_KEY,
        "REELSEEK_DATA_DIR": str(tmp_path / "nothing"),
        "REELSEEK_URL": api.url,
    }

    def reelseek(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli", "captions", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return reelseek


@pytest.fixture
def video(client, video_bytes, request):
    """A video with a name of its own: (id, file name)."""
    name = f"{request.node.name[:40]}.mp4"
    return send_video(client, video_bytes, name=name).json()["id"], name


def test_a_caption_is_added_listed_and_deleted(reelseek, video):
    video_id, name = video

    made = json.loads(
        reelseek("add", name, "a [red] cat", "--from", "0.1", "--to", "0.3", "--json").stdout
    )
    assert (made["video_id"], made["start_s"]) == (video_id, 0.1)

    listed = reelseek("list", "--video", name)
    header, row = listed.stdout.splitlines()
    assert header.split() == ["Id", "Video", "From", "-", "to", "Text", "Source"]
    assert row.split()[0] == made["id"]
    assert "0:00.1 - 0:00.3" in row
    assert "a [red] cat" in row
    assert json.loads(reelseek("list", "--json", "--limit", "1").stdout) == [made]

    assert reelseek("delete", made["id"]).stdout == "Deleted.\n"
    assert "captions add" in reelseek("list", "--video", video_id).stdout
    again = reelseek("delete", made["id"])
    assert again.returncode == 1
    assert "There is no caption" in again.stderr


def test_a_time_that_is_no_number_is_refused(reelseek, video):
    done = reelseek("add", video[0], "a cat", "--from", "nan")

    assert (done.returncode, done.stderr) == (2, "reelseek: A number has to be finite.\n")


def test_files_go_in_and_out(reelseek, video, tmp_path):
    _video_id, name = video
    file = tmp_path / "talk.srt"
    file.write_text("1\n00:00:00,000 --> 00:00:00,200\na cat\n\n2\n00:00:00,1\n")

    refused = reelseek("import", file, "--video", name)
    assert refused.returncode == 1
    (sentence,) = refused.stderr.splitlines()
    assert "1 line is wrong, so nothing was imported" in sentence
    assert "line 5: There is no line with two times" in sentence

    taken = reelseek("import", file, "--video", name, "--wrong", "skip")
    assert taken.returncode == 1
    assert taken.stdout == "1 new, 0 already here.\n"
    assert taken.stderr.startswith("line 5 was left out: ")

    for form in ("csv", "jsonl", "vtt", "srt"):
        exported = tmp_path / f"out.{form}"
        assert reelseek("export", exported, "--video", name).returncode == 0
        again = reelseek("import", exported, "--video", name)
        assert again.stdout == "0 new, 1 already here.\n"
    assert reelseek("export", "--video", name).stdout == (tmp_path / "out.csv").read_text()


def test_what_cannot_be_done_is_one_sentence(reelseek, video, tmp_path):
    assert video
    unknown = tmp_path / "captions.doc"
    unknown.touch()
    for arguments, why, code in [
        (("import", unknown), "--format", 2),
        (("import", tmp_path / "none.csv"), "cannot be read", 1),
        (("add", "no such video", "x"), "There is no video no such video.", 1),
        (("export", tmp_path / "nowhere" / "x.csv"), "cannot be written", 1),
        (("import", unknown, "--format", "vtt"), "say which, as video_id", 1),
    ]:
        done = reelseek(*arguments)
        (sentence,) = done.stderr.strip().splitlines()
        assert why in sentence
        assert done.returncode == code
