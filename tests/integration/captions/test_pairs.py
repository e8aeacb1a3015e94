"""Pairs are what captions and feedback say of videos that can be searched."""

import io

import numpy as np
import pytest

from service.captions.feedback import Place
from service.captions.importing import import_captions
from service.captions.lines import CaptionFormat
from service.catalog.tuning_tables import PairOrigin
from service.pairs import PairFilter, PairSource, collect_pairs, duplicate_groups
from tests.factories import ingest, unit_vectors


@pytest.fixture
def collect(read_sessions):
    """Collect pairs: `collect(tags=["a"])`; (text, video, start, end, negative) of each."""

    def collect(**wanted):
        with read_sessions() as session:
            pairs = collect_pairs(session, PairFilter(**wanted))
        return [(p.text, p.video_id, p.start_s, p.end_s, p.is_negative) for p in pairs]

    return collect


def test_captions_are_pairs_with_their_origin(read_sessions, make_video, say):
    video_id = make_video(b"content")
    caption = say(video_id, "a cat", 1, 2)

    with read_sessions() as session:
        (pair,) = collect_pairs(session, PairFilter())

    assert (pair.origin, pair.origin_id, pair.video_id) == (
        PairOrigin.CAPTION,
        caption.id,
        video_id,
    )
    assert (pair.text, pair.start_s, pair.end_s, pair.is_negative) == ("a cat", 1.0, 2.0, False)
    assert pair.sha256 == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"


def test_only_searchable_videos_have_pairs(make_video, say, collect):
    waiting, ready = make_video(is_ready=False), make_video()
    say(waiting, "a cat")
    say(ready, "a dog")

    assert [pair[0] for pair in collect()] == ["a dog"]


def test_feedback_says_what_a_hit_is_and_what_it_is_not(make_video, judge, collect):
    one, other = make_video(), make_video()
    judge("a cat", "right", one, 0, 4)
    judge("a dog", "wrong", one, 0, 4)
    judge("a cow", "instead", one, 4, 8, instead=Place(video_id=other, start_s=1, end_s=2))

    assert collect() == [
        ("a cat", one, 0.0, 4.0, False),
        ("a dog", one, 0.0, 4.0, True),
        ("a cow", one, 4.0, 8.0, True),
        ("a cow", other, 1.0, 2.0, False),
    ]


def test_the_newest_feedback_counts_and_a_caption_more(make_video, say, judge, collect):
    one, other = make_video(), make_video()
    judge("a cat", "wrong", one)
    judge("A Cat", "right", one)
    judge("a dog", "right", other)
    judge("a dog", "wrong", other)
    judge("a cow", "instead", other, instead=Place(video_id=one))
    judge("a cow", "wrong", one)
    say(one, "a Cow")

    assert collect() == [
        ("a Cow", one, None, None, False),
        ("A Cat", one, None, None, False),
        ("a dog", other, None, None, True),
        ("a cow", other, None, None, True),
    ]


def test_pairs_are_chosen_by_video_tag_and_source(sessions, make_video, say, judge, collect):
    red, blue = make_video(tags=["red", "new"]), make_video(tags=["blue", "new"])
    say(red, "typed")
    judge("judged", "right", blue)
    file = io.BytesIO(b"text\nimported\n")
    import_captions(sessions, file, CaptionFormat.CSV, video_id=blue)

    def texts(**wanted):
        return [pair[0] for pair in collect(**wanted)]

    assert texts() == ["typed", "imported", "judged"]
    assert texts(tags=["red"]) == ["typed"]
    assert texts(tags=["red", "blue"]) == []
    assert texts(tags=[]) == texts()
    assert texts(video_ids=[blue]) == ["imported", "judged"]
    assert texts(video_ids=[]) == []
    assert texts(sources=[PairSource.IMPORTED]) == ["imported"]
    assert texts(sources=[PairSource.FEEDBACK, PairSource.TYPED]) == ["typed", "judged"]
    assert texts(sources=[]) == []


def test_videos_that_look_the_same_are_one_group(
    read_sessions, upload, sessions, storage, generation_id
):
    base, other = unit_vectors(2, seed=1)
    near = base + 0.1 * other
    near /= np.linalg.norm(near)
    vectors = {"base": [base, base], "near": [near], "other": [other], "again": [other, other]}
    ids = {}
    for name, own in vectors.items():
        accepted = upload()
        ingest(sessions, storage, accepted.job_id, count=len(own), vectors=np.array(own))
        ids[name] = accepted.video_id

    with read_sessions() as session:
        groups = duplicate_groups(session, generation_id, list(ids.values()))
        some = duplicate_groups(session, generation_id, [ids["near"], ids["other"]])
        none = duplicate_groups(session, generation_id, [])

    assert groups[ids["base"]] == groups[ids["near"]] != groups[ids["other"]]
    assert groups[ids["other"]] == groups[ids["again"]]
    assert len({*some.values()}) == 2
    assert none == {}
