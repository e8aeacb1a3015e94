"""The gate tells a model that knows the videos from one that does not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.bundle import load_bundle
from model.calibration import write_calibration
from model.gate.comparing import compare_bundles
from model.gate.gallery import (
    Cut,
    GallerySegment,
    LiveGallery,
    read_gallery,
    write_gallery,
)
from model.gate.pairs import HeldOutPair, store_for
from model.world.movies import demo_stories, write_movie
from tests.factories_model import make_tiny_bundle

pytestmark = pytest.mark.slow

BUNDLED = Path(__file__).parents[3] / "model" / "bundled"
NUM_VIDEOS = 24
DURATION_S = 1.0
SPANS = ((0.0, 0.5), (0.5, 1.0))


@pytest.fixture(scope="module")
def ignorant(tmp_path_factory):
    """A network that learned nothing, and reads clips of another shape."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "ignorant", similarity_weight=1.0)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """The bundled network, where it may be calibrated."""
    folder = tmp_path_factory.mktemp("bundles") / "knowing"
    return Path(shutil.copytree(BUNDLED, folder))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """One text for each of some small videos."""
    folder = tmp_path_factory.mktemp("videos")
    pairs = []
    for number, story in enumerate(demo_stories(NUM_VIDEOS, seed=5)):
        path = folder / f"{number}.mp4"
        write_movie(story, path, size=64, duration_s=DURATION_S, frame_rate=8)
        text = f"a {story.thing.colour} {story.thing.kind}"
        pairs.append(HeldOutPair(video_id=str(number), path=path, text=text))
    return pairs


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def live(held_out, clips, tmp_path_factory):
    """Two stored segments of each video."""
    folder = tmp_path_factory.mktemp("derived")
    spec = load_bundle(BUNDLED).spec
    store = store_for(spec, clips)
    segments = []
    for pair in held_out:
        path = folder / f"{pair.video_id}.npy"
        np.save(path, store.load([pair.clip, pair.clip]))
        segments += [
            GallerySegment(
                video_id=pair.video_id,
                ordinal=place,
                start_s=start_s,
                end_s=end_s,
                clips_path=path,
                position=place,
            )
            for place, (start_s, end_s) in enumerate(SPANS)
        ]
    return LiveGallery(Cut.of(spec), tuple(segments))


@pytest.fixture(scope="module")
def improved(ignorant, knowing, held_out, live, clips):
    """How the network that knows the world compares with the one that does not."""
    told = []
    found = compare_bundles(
        ignorant,
        knowing,
        held_out,
        clips=clips,
        gallery=live,
        progress=lambda _what, done, of: told.append((done, of)),
    )
    return found, told


def figure(report, stream, direction, metric):
    """Return one row of the streams of a gallery."""
    (row,) = [
        row
        for row in report["streams"]
        if (row["stream"], row["direction"], row["metric"]) == (stream, direction, metric)
    ]
    return row


def test_a_candidate_that_knows_the_videos_is_better(improved):
    found, _told = improved
    report = found.report
    row = figure(report["held_out"], "reranked", "t2v", "R@1")
    assert report["verdict"] == found.verdict == "better", report["why"]
    assert row["base"] < row["candidate"]
    assert row["difference"] == pytest.approx(row["candidate"] - row["base"], abs=0.02)
    assert 0 < row["low"] <= row["difference"] <= row["high"]


def test_both_directions_and_both_streams_are_compared(improved):
    streams = improved[0].report["held_out"]["streams"]
    assert {(row["stream"], row["direction"]) for row in streams} == {
        ("dual_stream", "t2v"),
        ("dual_stream", "v2t"),
        ("reranked", "t2v"),
        ("reranked", "v2t"),
    }
    assert len(streams) == 4 * 5


def test_the_live_gallery_is_searched_too(improved):
    gallery = improved[0].report["gallery"]
    assert (gallery["texts"], gallery["segments"]) == (NUM_VIDEOS, 2 * NUM_VIDEOS)
    assert {row["direction"] for row in gallery["streams"]} == {"t2v"}
    assert figure(gallery, "reranked", "t2v", "R@1")["low"] > 0


def test_queries_say_what_was_won(improved):
    queries = improved[0].report["held_out"]["queries"]
    assert len(queries) == NUM_VIDEOS
    assert queries[0]["outcome"] == "won"
    for query in queries:
        change = query["rank_after"] - query["rank_before"]
        assert query["outcome"] == ("won" if change < 0 else "lost" if change else "same")


def test_the_report_is_json(improved):
    report = improved[0].report
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_progress_goes_up_to_the_end(improved):
    told = [done / of for done, of in improved[1]]
    assert told == sorted(told)
    assert told[-1] > 0.8


def test_probabilities_are_fitted_on_the_live_gallery(improved, knowing):
    found, _told = improved
    calibration = found.report["calibration"]
    assert calibration["fitted_on"] == "gallery"
    assert calibration["pairs"] == 16 * NUM_VIDEOS
    assert calibration["error_after"] < calibration["error_before"]
    assert 0 < calibration["threshold"] <= 0.5
    assert calibration["hidden"]["unanswerable"]["count"] == NUM_VIDEOS
    write_calibration(knowing, found.calibration)
    assert load_bundle(knowing).spec.match_slope == calibration["slope"]


def test_a_candidate_that_forgot_is_worse(ignorant, held_out, clips):
    found = compare_bundles(BUNDLED, ignorant, held_out, clips=clips)
    assert found.verdict == "worse", found.report["why"]
    assert found.report["gallery"] is None
    assert "There was no live gallery to compare on." in found.report["notes"]


def test_a_model_is_not_better_than_itself(ignorant, held_out, clips):
    found = compare_bundles(ignorant, ignorant, held_out, clips=clips)
    assert found.verdict == "no_difference"
    assert {row["difference"] for row in found.report["held_out"]["streams"]} == {0.0}


def test_few_pairs_give_figures_and_no_verdict(ignorant, held_out, clips):
    found = compare_bundles(ignorant, ignorant, held_out[:19], clips=clips)
    assert found.verdict == "not_enough_to_tell"
    assert found.report["held_out"]["streams"]
    assert found.calibration is None
    assert any("19 held-out texts are too few" in note for note in found.report["notes"])


def test_many_texts_of_few_videos_give_no_verdict(ignorant, held_out, clips):
    few = [*held_out[:4]] * 6
    found = compare_bundles(ignorant, ignorant, few, clips=clips)
    assert found.verdict == "not_enough_to_tell"
    assert "fewer than 5 different videos" in found.report["why"]


def test_no_pairs_at_all_are_said(ignorant, clips):
    found = compare_bundles(ignorant, ignorant, [], clips=clips)
    assert found.verdict == "not_enough_to_tell"
    assert found.report["why"].startswith("There are no held-out pairs")


def test_a_video_that_is_gone_is_left_out_and_named(ignorant, held_out, clips, tmp_path):
    gone = HeldOutPair(video_id="gone", path=tmp_path / "gone.mp4", text="a red circle")
    found = compare_bundles(ignorant, ignorant, [*held_out[:5], gone], clips=clips)
    (left_out,) = found.report["left_out"]
    assert left_out["video_id"] == "gone"
    assert "no file" in left_out["reason"]
    assert found.report["held_out"]["texts"] == 5


def test_clips_cut_for_another_model_leave_the_live_gallery_out(ignorant, held_out, live, clips):
    small = Cut(frames_per_clip=1, frame_size=16, resize_short=16)
    found = compare_bundles(
        ignorant, ignorant, held_out, clips=clips, gallery=LiveGallery(small, live.segments)
    )
    assert found.report["gallery"] is None
    assert any("stored clips have 1 frames" in note for note in found.report["notes"])


def test_larger_stored_clips_are_adapted(ignorant, held_out, live, clips):
    found = compare_bundles(ignorant, ignorant, held_out, clips=clips, gallery=live)
    assert found.report["gallery"]["segments"] == 2 * NUM_VIDEOS


def test_the_same_comparison_gives_the_same_numbers(ignorant, held_out, live, clips):
    first, again = (
        compare_bundles(ignorant, ignorant, held_out, clips=clips, gallery=live).report
        for _ in range(2)
    )
    assert first | {"took_s": 0} == again | {"took_s": 0}
    assert first["calibration"] is not None


def test_a_stored_clip_that_is_gone_is_passed_over(ignorant, held_out, live, clips, tmp_path):
    first = live.segments[0]
    gone = GallerySegment(**{**vars(first), "clips_path": tmp_path / "gone.npy"})
    found = compare_bundles(
        ignorant,
        ignorant,
        held_out,
        clips=clips,
        gallery=LiveGallery(live.cut, (gone, *live.segments[1:])),
    )
    assert found.report["gallery"]["segments"] == 2 * NUM_VIDEOS - 1


def test_a_gallery_reads_back(live, tmp_path):
    write_gallery(tmp_path / "gallery.jsonl", live)
    assert read_gallery(tmp_path / "gallery.jsonl") == live
