"""Annotations of five datasets in the layouts that people have them in."""

import json
import pickle
from pathlib import Path

import pytest

from model.datasets.items import DatasetError, Item
from model.datasets.reading import LAYOUTS, MissingVideosError, open_dataset, pairs
from model.datasets.videos import bare_name, find_videos
from model.pairs import read_pairs
from tests.factories_datasets import MAKERS


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def as_dict(items):
    return {item.name: item.texts for item in items}


@pytest.fixture(params=list(MAKERS))
def made(request, tmp_path):
    """The name of a dataset, and one in one of its layouts, its videos empty files."""
    name, make = MAKERS[request.param]
    made = make(tmp_path / "data")
    touch(made.videos, *made.files)
    return name, made


def test_the_test_split_has_its_texts_and_files_in_order(made):
    name, where = made

    found = open_dataset(name, annotations=where.annotations, videos=where.videos)

    assert as_dict(found.items) == where.texts
    assert [item.name for item in found.items] == list(where.texts)
    assert [str(path.relative_to(where.videos)) for path in found.files] == list(where.files)
    assert found.missing == ()


def test_the_training_split_has_its_captions(made):
    name, where = made

    items = LAYOUTS[name].read(where.annotations, "train")

    assert as_dict(items) == where.trained


def test_pairs_are_lines_that_training_reads(made, tmp_path):
    name, where = made
    touch(where.videos, *(f"t/{video}.mp4" for video in where.trained))
    found = open_dataset(name, annotations=where.annotations, videos=where.videos, split="train")

    listing = tmp_path / "pairs.jsonl"
    listing.write_text("\n".join(json.dumps(pair) for pair in pairs(found, where.videos)))

    read = read_pairs(listing, where.videos)
    assert {pair.path.stem: pair.captions for pair in read} == where.trained
    assert [pair.path for pair in read] == list(found.files)


def test_missing_videos_are_counted_and_named(made):
    name, where = made
    (where.videos / where.files[0]).unlink()

    with pytest.raises(MissingVideosError) as error:
        open_dataset(name, annotations=where.annotations, videos=where.videos)

    first = next(iter(where.texts))
    assert f"Of 2 videos, 1 ({first}) are not below {where.videos}" in str(error.value)


def test_missing_videos_are_left_out_on_request_alone(made):
    name, where = made
    (where.videos / where.files[0]).unlink()

    found = open_dataset(
        name, annotations=where.annotations, videos=where.videos, skip_missing=True
    )

    assert found.missing == tuple(where.texts)[:1]
    assert [item.name for item in found.items] == list(where.texts)[1:]


def test_nothing_to_search_is_an_error_even_so(made):
    name, where = made
    for file in where.files:
        (where.videos / file).unlink()

    with pytest.raises(MissingVideosError, match="Of 2 videos, 2"):
        open_dataset(name, annotations=where.annotations, videos=where.videos, skip_missing=True)


def test_a_limit_takes_the_first(made):
    name, where = made

    found = open_dataset(name, annotations=where.annotations, videos=where.videos, limit=1)

    assert [item.name for item in found.items] == list(where.texts)[:1]


def test_an_annotation_that_is_missing_is_named(made, tmp_path):
    name, where = made
    empty = tmp_path / "empty"
    empty.mkdir()

    with pytest.raises(DatasetError, match=rf"is not below {empty}: no \S"):
        open_dataset(name, annotations=empty, videos=where.videos)
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(name, annotations=tmp_path / "nowhere", videos=where.videos)


def test_annotations_of_another_layout_are_refused_with_a_sentence(made):
    name, where = made
    for path in where.annotations.rglob("*.*"):
        if path.suffix in (".json", ".csv", ".txt", ".pkl"):
            path.write_text('"something else"')

    with pytest.raises(DatasetError, match=str(where.annotations)):
        open_dataset(name, annotations=where.annotations, videos=where.videos)


def test_a_file_can_be_named_itself(tmp_path):
    _, make = MAKERS["msrvtt"]
    made = make(tmp_path)
    touch(made.videos, *made.files)
    path = made.annotations / "a" / "MSRVTT_JSFUSION_test.csv"
    renamed = path.rename(tmp_path / "mine.csv")

    found = open_dataset("msrvtt", annotations=renamed, videos=made.videos)

    assert as_dict(found.items) == made.texts


def test_two_copies_of_an_annotation_must_be_chosen_from(tmp_path):
    _, make = MAKERS["didemo"]
    made = make(tmp_path)
    touch(made.videos, *made.files)
    copy = tmp_path / "old" / "test_data.json"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "test_data.json").read_bytes())

    with pytest.raises(DatasetError, match="is there twice"):
        open_dataset("didemo", annotations=tmp_path, videos=made.videos)

    assert open_dataset("didemo", annotations=copy, videos=made.videos).items


def test_a_split_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="only test, train"):
        open_dataset("msrvtt", annotations=tmp_path, videos=tmp_path, split="val")


class Canary:
    """A pickle of it would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["all", "caption", "key"])
def test_a_pickle_with_code_in_it_is_refused_and_runs_nothing(tmp_path, where):
    canary = Canary(tmp_path / "was_run")
    hidden = {"all": canary, "caption": {"a_0_1": [[canary]]}, "key": {"a_0_1": canary}}[where]
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(hidden))
    (tmp_path / "test_list.txt").write_text("a_0_1\n")

    with pytest.raises(DatasetError, match=r"raw-captions\.pkl"):
        open_dataset("msvd", annotations=tmp_path, videos=tmp_path)

    assert not canary.path.exists()
    pickle.loads((tmp_path / "raw-captions.pkl").read_bytes())  # noqa: S301 it would have
    assert canary.path.exists()


def test_a_truncated_pickle_is_refused(tmp_path):
    whole = pickle.dumps({"a_0_1": [["a", "dog"]]}, protocol=2)
    (tmp_path / "raw-captions.pkl").write_bytes(whole[:-8])
    (tmp_path / "test_list.txt").write_text("a_0_1\n")

    with pytest.raises(DatasetError, match="truncated"):
        open_dataset("msvd", annotations=tmp_path, videos=tmp_path)


def test_videos_of_the_list_without_captions_are_named(tmp_path):
    (tmp_path / "AllVideoDescriptions.txt").write_text("a_0_1 a dog\n")
    (tmp_path / "test_list.txt").write_text("a_0_1\nb_0_1\n")

    with pytest.raises(DatasetError, match=r"no captions for 1 \(b_0_1\) of 2 videos"):
        open_dataset("msvd", annotations=tmp_path, videos=tmp_path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("video7020.mp4", "video7020"),
        ("x.mov.mp4", "x"),
        ("X.MOV", "X"),
        ("1004_Juno_00.00.32.161-00.00.37.086.avi", "1004_Juno_00.00.32.161-00.00.37.086"),
        ("1004_Juno_00.00.32.161-00.00.37.086", "1004_Juno_00.00.32.161-00.00.37.086"),
        ("v_-a.b.mkv", "v_-a.b"),
    ],
)
def test_only_suffixes_of_videos_are_taken_off_a_name(file, name):
    assert bare_name(file) == name


def test_a_video_that_is_there_twice_must_be_chosen_from(tmp_path):
    touch(tmp_path, "train/video1.mp4", "test/video1.avi", "video2.mp4", "video2.txt")

    with pytest.raises(DatasetError, match="video1 is there twice"):
        find_videos(tmp_path, [Item("video1", ("a",))])

    assert find_videos(tmp_path, [Item("video2", ("a",))]) == {"video2": tmp_path / "video2.mp4"}


def test_a_folder_of_videos_that_is_none_is_named(tmp_path):
    with pytest.raises(DatasetError, match="no folder of videos"):
        find_videos(tmp_path / "nowhere", [])
