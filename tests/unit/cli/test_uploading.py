"""Which files `ingest` takes, and what it does with paths that are none."""

import pytest

from service.cli.console import CliError, clock
from service.cli.uploading import CountingFile, find_videos


def test_a_folder_gives_its_videos_and_a_named_file_is_taken_whatever_it_is_called(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    for name in ("b.mp4", "deeper/a.MKV", "notes.txt"):
        (folder / name).touch()
    odd = tmp_path / "no suffix"
    odd.touch()

    found = find_videos([folder, odd, folder / "b.mp4"])

    assert found == [folder / "b.mp4", folder / "deeper" / "a.MKV", odd]


def test_a_path_that_does_not_exist_is_said(tmp_path):
    with pytest.raises(CliError, match="does not exist"):
        find_videos([tmp_path / "missing.mp4"])


def test_a_folder_without_videos_is_said(tmp_path):
    with pytest.raises(CliError, match="There is no video"):
        find_videos([tmp_path])


def test_a_counting_file_reports_every_byte_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(3000))
    counts = []

    with CountingFile(path.open("rb"), counts.append) as file:
        while file.read(1024):
            pass

    assert sum(counts) == 3000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (75.25, "1:15.2"), (3600.0, "1:00:00.0"), (59.99, "0:59.9")],
)
def test_times_are_written_as_people_read_them(seconds, text):
    assert clock(seconds) == text
