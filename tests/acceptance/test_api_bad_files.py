"""Files and names that someone made to do harm are refused, or shown and nothing more."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.acceptance.api_server import send_video
from tests.acceptance.test_api_errors import check_problem
from tests.acceptance.test_api_uploads import multipart, part, post_raw

BAD = Path(__file__).parents[1] / "data" / "bad"
HOSTILE_NAMES = [
    "-i.mp4",
    "--help.mp4",
    "concat:a.mp4|b.mp4",
    "a%d.mp4",
    "pipe:0",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "C:\\con.mp4",
    "nul\0byte.mp4",
    "\u202e4pm.exe",
    "a" * 300 + ".mp4",
    "🎥 emoji.mp4",
    "line\nbreak.mp4",
    "quote'\".mp4",
    ".htaccess",
    "video.mp4.php",
    "",
]


def rejected_files():
    listed = json.loads((BAD / "index.json").read_text())["files"]
    return [
        pytest.param(one["file"], one["expected_reason"], id=one["file"])
        for one in listed
        if one["expected"] == "rejected" and one["category"] != "artefact"
    ]


@pytest.mark.parametrize(("name", "reason"), rejected_files())
def test_bad_files_are_refused_with_their_reason_or_found_out_by_the_worker(
    api, client, name, reason
):
    response = send_video(client, (BAD / name).read_bytes(), name=name)

    if response.status_code in {200, 202}:  # only decoding all of it can tell
        assert reason in {"truncated", "undecodable", "corrupt_index", "too_many_frames"}
        client.delete(response.json()["links"]["self"])
    else:
        check_problem(response, 422, reason)
    assert api.staged_files() == []


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_hostile_file_name_is_only_ever_shown(api, client, video_bytes, name):
    quoted = name.replace('"', "%22").replace("\n", "%0A").replace("\0", "%00")
    response = post_raw(client, multipart(part("file", video_bytes, quoted)))

    assert response.status_code == 202, response.text
    video = client.get(response.json()["links"]["self"]).json()
    shown = video["file_name"]
    assert 0 < len(shown) <= 255
    assert not set(shown) & set("/\\\0\n\r\u202e")
    assert video["title"]
    disposition = client.get(video["links"]["content"]).headers["content-disposition"]
    assert unquote(disposition.rsplit("''", 1)[1]) == shown
    plain = disposition.split('filename="', 1)[1].split('"', 1)[0]
    assert plain.isascii()
    assert not set(plain) & set("/\\\"%;:|'")
    stored = {path.name for path in api.state.storage.root.rglob("*")}
    assert not [one for one in stored if shown and shown in one and len(shown) > 3]
