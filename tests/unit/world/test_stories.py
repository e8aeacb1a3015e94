"""The procedural world: the same seed makes the same world, and families differ in one thing."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from model.world.captions import caption, describes
from model.world.drawing import SIMPLE, draw_story, vary
from model.world.families import FAMILY_SIZE, family, gallery
from model.world.render import bin_centres, render
from model.world.story import SYMMETRIC_EVENTS, Background, Event, Facet, facts, reverse
from model.world.viewers import (
    MORE_BECOMING,
    MORE_BECOMING_UNSAID,
    MORE_COMPANY,
    MORE_PHRASES,
    MORE_SENTENCES,
)
from model.world.wording import BECOMING, BECOMING_UNSAID, COMPANY, EVENT_PHRASES, SENTENCES

MANY = 200


def stories(count=MANY):
    rng = random.Random(5)
    return [draw_story(rng) for _ in range(count)]


def words(told):
    return set(re.findall(r"\w+", told.text))


def test_equal_seeds_give_equal_families_and_other_seeds_do_not():
    assert family(7) == family(7)
    assert family(7) != family(8)


def test_the_splits_never_draw_the_same_story_from_the_same_seed():
    assert family(7, split="train")[0].story != family(7, split="test")[0].story


@pytest.mark.parametrize("frames", [1, 4, 5])
def test_a_reversed_story_shows_the_same_frames_in_reverse(frames):
    times = bin_centres(frames)
    for story in stories(40):
        shown = render(story, times, 32)
        assert np.array_equal(render(reverse(story), times, 32), shown[::-1])


def test_frames_are_the_same_whichever_are_asked_for_together():
    times = bin_centres(4)
    for story in stories(10):
        together = render(story, times, 48)
        assert np.array_equal(np.concatenate([render(story, [t], 48) for t in times]), together)


def test_a_story_looks_alike_at_any_size():
    for story in stories(20):
        if story.background is Background.NOISE:
            continue  # its grains are finer than small pixels
        quiet = replace(story, look=replace(story.look, noise=0.0))
        small = render(quiet, [0.5], 64).astype(float)
        large = render(quiet, [0.5], 256).astype(float)
        shrunk = large.reshape(1, 64, 4, 64, 4, 3).mean(axis=(2, 4))
        assert np.abs(shrunk - small).mean() < 8


@pytest.mark.parametrize("event", [event for event in Event if event not in SYMMETRIC_EVENTS])
def test_order_is_visible_in_reversible_events(event):
    rng = random.Random(3)
    for _ in range(10):
        story = draw_story(rng, events=(event,), level=replace(SIMPLE, noise=0.0))
        first, *_, last = render(story, bin_centres(4), 64).astype(int)
        assert (np.abs(first - last) > 40).any(axis=-1).mean() > 0.01


@pytest.mark.parametrize("event", SYMMETRIC_EVENTS)
def test_symmetric_events_have_no_twin(event):
    story = draw_story(random.Random(3), events=(event,))
    assert vary(story, Facet.TIME, random.Random(1)) is None
    assert facts(story) == facts(reverse(story))


def test_members_differ_from_the_first_in_exactly_one_fact():
    for seed in range(MANY):
        first, *others = family(seed)
        assert others[0].differs_in is Facet.TIME
        known = facts(first.story)
        for member in others:
            theirs = facts(member.story)
            shared = [f for f in Facet if None not in (known[f], theirs[f])]  # what grows: no size
            assert [f for f in shared if known[f] != theirs[f]] == [member.differs_in]
            assert member.story.look == first.story.look


def test_a_caption_is_true_of_its_own_video_alone_within_a_family():
    for seed in range(MANY):
        members = family(seed)
        for ours in members:
            true_of = [m for m in members if describes(ours.caption, ours.story, m.story)]
            assert true_of == [ours]


def test_captions_differ_between_paraphrases():
    (story,) = stories(1)
    rng = random.Random(0)
    assert len({caption(story, rng).text for _ in range(50)}) > 20


@pytest.mark.parametrize(
    ("phrases", "more"),
    [
        (SENTENCES, MORE_SENTENCES),
        (COMPANY, MORE_COMPANY),
        (BECOMING, MORE_BECOMING),
        (BECOMING_UNSAID, MORE_BECOMING_UNSAID),
        *((phrases, MORE_PHRASES[happening]) for happening, phrases in EVENT_PHRASES.items()),
    ],
)
def test_the_splits_share_no_template(phrases, more):
    assert not {*phrases.train, *more} & set(phrases.test)


def test_every_word_of_a_test_caption_is_known_from_training():
    known = {word for seed in range(1500) for m in family(seed) for word in words(m.caption)}
    for member in gallery(400, seed=1):
        assert words(member.caption) <= known


def test_viewers_say_that_nothing_moves():
    rng = random.Random(2)
    story = draw_story(rng, events=(Event.STILL,))
    texts = {caption(story, rng, required=[Facet.EVENT]).text for _ in range(2000)}
    assert any("not move" in text for text in texts)
    assert any("motionless" in text for text in texts)


def test_the_test_split_has_no_viewers():
    rng = random.Random(2)
    texts = [caption(story, rng, split="test").text for story in stories()]
    assert not {"show", "find", "the"} & {text.split()[0] for text in texts}


def test_a_gallery_has_the_size_asked_for_and_whole_families():
    members = gallery(10, seed=1)
    assert len(members) == 10
    assert [m.differs_in for m in members[::FAMILY_SIZE]] == [None] * 3


def test_most_captions_of_a_gallery_are_true_of_one_video_alone():
    members = gallery(200, seed=2)
    alone = [
        sum(describes(ours.caption, ours.story, m.story) for m in members) == 1 for ours in members
    ]
    assert np.mean(alone) > 0.95


def test_a_family_around_a_symmetric_event_has_no_twin():
    for seed in range(MANY):
        first, *others = family(seed, events=SYMMETRIC_EVENTS)
        assert len(others) == FAMILY_SIZE - 1
        assert all(m.differs_in not in (None, Facet.TIME) for m in others)
        assert not any(describes(first.caption, first.story, m.story) for m in others)


def test_members_differ_in_what_is_named_more_often():
    facets = (Facet.KIND, Facet.KIND, Facet.KIND, Facet.BACKGROUND)
    drawn = [m.differs_in for seed in range(MANY) for m in family(seed, facets=facets)[2:]]
    assert drawn.count(Facet.KIND) > 2 * drawn.count(Facet.BACKGROUND) > 0


def test_a_family_needs_room_for_the_twin():
    with pytest.raises(ValueError, match="at least 2"):
        family(1, size=1)
