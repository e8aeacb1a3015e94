"""Pairs from files: what is read, decoded as for serving, kept, left out, and dealt to batches."""

import json

import numpy as np
import pytest

from model.clip_store import ClipStore
from model.distributed import Processes
from model.pair_batches import PairBatches
from model.pairs import PairsError, VideoPair, decode_clip, read_pairs
from model.preprocessing import Preprocessing
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.probe import probe
from model.video.segments import cut
from service.settings import Settings
from tests.factories_training import PREPROCESSING, text_of
from tests.factories_video import make_video
from workers.ingest import open_reader

LIMITS = DecodeLimits()


def write(path, *lines):
    path.write_text(
        "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    )
    return path


def test_a_line_may_have_one_caption_or_several_and_a_part_of_the_video(tmp_path):
    listing = write(
        tmp_path / "pairs.jsonl",
        {"file": "a.mp4", "caption": " a cat ", "licence": "ignored"},
        "",
        {"file": "sub/b.mp4", "captions": ["a dog", "dogs"], "start_s": 2, "end_s": 4.5},
    )
    first, second = read_pairs(listing, tmp_path / "videos")
    assert first == VideoPair(path=tmp_path / "videos/a.mp4", captions=("a cat",), line=1)
    assert second.path == tmp_path / "videos/sub/b.mp4"
    assert (second.captions, second.start_s, second.end_s) == (("a dog", "dogs"), 2.0, 4.5)
    assert second.line == 3


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "is not JSON"),
        ([], "is not an object"),
        ({"caption": "a cat"}, "names no file"),
        ({"file": "a.mp4"}, "neither a caption"),
        ({"file": "a.mp4", "captions": []}, "neither a caption"),
        ({"file": "a.mp4", "caption": "  "}, "is not a caption"),
        ({"file": "a.mp4", "caption": 7}, "is not a caption"),
        ({"file": "a.mp4", "caption": "x" * 10_001}, "longer than"),
        ({"file": "a.mp4", "caption": "x", "start_s": "1"}, "not a number of seconds"),
        ({"file": "a.mp4", "caption": "x", "start_s": -1}, "not a moment"),
        ('{"file": "a.mp4", "caption": "x", "end_s": Infinity}', "not a moment"),
        ({"file": "a.mp4", "caption": "x", "start_s": 2, "end_s": 2}, "not after"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, complaint):
    listing = write(tmp_path / "pairs.jsonl", {"file": "a.mp4", "caption": "fine"}, line)
    with pytest.raises(PairsError, match=f"line 2.*{complaint}"):
        read_pairs(listing, tmp_path)


def test_a_file_without_pairs_is_refused(tmp_path):
    with pytest.raises(PairsError, match="names no videos"):
        read_pairs(write(tmp_path / "pairs.jsonl", ""), tmp_path)
    with pytest.raises(PairsError, match="cannot be read"):
        read_pairs(tmp_path / "missing.jsonl", tmp_path)


@pytest.mark.parametrize("frames", [3, 4])
def test_training_sees_the_pixels_that_search_sees(tmp_path, frames):
    """A file of one segment, decoded as ingest does and as training does."""
    video = make_video(tmp_path / "a.mp4", seconds=4.0, fps=30, size=(176, 96))
    preprocessing = Preprocessing(resize_short=40, frame_size=32, frames_per_clip=frames)
    settings = Settings(data_dir=tmp_path, thumbnail_px=64)
    spans = cut(probe(video, limits=LIMITS).duration_s, length_s=8.0, every_s=8.0)
    spec = _Spec(preprocessing)
    with open_reader(video, spans, spec, settings) as reader:
        (served,) = list(reader)
    trained = decode_clip(VideoPair(path=video, captions=("x",)), preprocessing, limits=LIMITS)
    assert np.array_equal(trained, served.frames)
    part = VideoPair(path=video, captions=("x",), start_s=1.0, end_s=2.0)
    assert not np.array_equal(decode_clip(part, preprocessing, limits=LIMITS), trained)


class _Spec:
    """What ingest reads of a model's `RetrievalSpec`: the values of its preprocessing."""

    def __init__(self, preprocessing):
        self.__dict__.update(vars(preprocessing))


def test_what_cannot_be_decoded_is_left_out_and_named(tmp_path):
    good = make_video(tmp_path / "good.mp4", seconds=1.0)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    pairs = [
        VideoPair(path=path, captions=("x",), line=line)
        for line, path in enumerate((bad, good, tmp_path / "missing.mp4"), start=1)
    ]
    done = []
    store = ClipStore(tmp_path / "clips", PREPROCESSING, workers=2)
    usable, left_out = store.check(pairs, done.append)
    assert usable == [pairs[1]]
    assert [one.pair.line for one in left_out] == [1, 3]
    assert "missing.mp4" in left_out[1].reason
    assert done == [1, 2, 3]


def test_clips_are_kept_if_they_fit_and_decoded_again_if_not(tmp_path):
    video = make_video(tmp_path / "a.mp4", seconds=1.0)
    pair = VideoPair(path=video, captions=("x",))
    kept = ClipStore(tmp_path / "kept", PREPROCESSING, workers=1)
    bare = ClipStore(tmp_path / "bare", PREPROCESSING, workers=1, keep_bytes=10)
    for store in (kept, bare):
        assert store.check([pair]) == ([pair], [])
    assert len(list(kept.folder.glob("*.npy"))) == 1
    assert not list(bare.folder.glob("*.npy"))
    assert np.array_equal(kept.load([pair]), bare.load([pair]))
    video.write_bytes(b"changed")
    with pytest.raises(VideoError):
        kept.load([pair])


@pytest.fixture
def pairs(tmp_path):
    """Ten pairs, and a store that knows their clips."""
    store = ClipStore(tmp_path / "clips", PREPROCESSING, workers=1)
    store.folder.mkdir()
    made = []
    for number in range(10):
        pair = VideoPair(path=tmp_path / f"{number}.mp4", captions=(text_of(number), f"v{number}"))
        clip = np.full((2, 32, 32, 3), number, np.uint8)
        np.save(store.folder / f"{store._key(pair)}.npy", clip)  # noqa: SLF001 - as check would
        made.append(pair)
    return made, store


def test_an_epoch_shows_no_pair_twice_and_the_next_has_another_order(pairs):
    made, store = pairs
    batches = PairBatches(made, store, 4, seed=1, processes=Processes())
    seen = [batches(step).clips[:, 0, 0, 0, 0].tolist() for step in range(4)]
    assert len({*seen[0], *seen[1]}) == 8
    assert seen[:2] != seen[2:]
    again = PairBatches(made, store, 4, seed=1, processes=Processes())(3)
    assert again.texts == batches(3).texts
    assert np.array_equal(again.clips, batches(3).clips)


def test_processes_have_all_texts_and_their_own_clips(pairs):
    made, store = pairs
    whole = PairBatches(made, store, 4, seed=1, processes=Processes())(0)
    parts = [PairBatches(made, store, 4, seed=1, processes=Processes(r, 2))(0) for r in (0, 1)]
    assert [part.first_row for part in parts] == [0, 2]
    assert all(part.texts == whole.texts for part in parts)
    assert np.array_equal(np.concatenate([part.clips for part in parts]), whole.clips)


def test_equal_captions_are_true_of_each_others_clips(pairs):
    made, store = pairs
    twins = [
        VideoPair(path=made[0].path, captions=("A Dog",)),
        VideoPair(path=made[0].path, captions=("a dog", "a dog")),
    ]
    raw = PairBatches(twins, store, 2, seed=0, processes=Processes())(0)
    assert raw.is_true.all()


def test_a_batch_larger_than_all_pairs_is_refused(pairs):
    made, store = pairs
    with pytest.raises(ValueError, match="do not fill"):
        PairBatches(made, store, 11, seed=1, processes=Processes())
