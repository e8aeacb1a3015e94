"""What is held out is held out wholly, about as much as asked, and stays where it is."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog.tuning_tables import PairOrigin
from service.pairs import HoldOut, Pair, split_pairs

NAMESPACE = UUID(int=7)
TEXTS = ["a cat", "A CAT", "a dog", "rain", "a red car", "two people"]


def make_pair(
    video: int, text: str, *, content: int | None = None, is_negative=False, start_s=None
):
    return Pair(
        origin=PairOrigin.CAPTION,
        origin_id=uuid5(NAMESPACE, f"{video}/{text}/{start_s}/{is_negative}"),
        video_id=UUID(int=video),
        sha256=f"{video if content is None else content:064x}",
        text=text,
        start_s=start_s,
        end_s=None if start_s is None else start_s + 1,
        is_negative=is_negative,
    )


some_pairs = st.lists(
    st.builds(
        make_pair,
        st.integers(0, 12),
        st.sampled_from(TEXTS),
        is_negative=st.sampled_from([False, False, True]),
    ),
    max_size=40,
)
some_groups = st.dictionaries(st.integers(0, 12).map(lambda n: UUID(int=n)), st.integers(0, 4))
ways = st.sampled_from(list(HoldOut))
shares = st.floats(0, 1)


@given(some_pairs, some_groups, ways, shares, st.integers(0, 5))
def test_each_pair_is_on_one_side_in_its_order(pairs, groups, hold_out, share, seed):
    split = split_pairs(pairs, held_out_share=share, seed=seed, groups=groups, hold_out=hold_out)

    assert len(split.train) + len(split.held_out) == len(pairs)
    held_out = {id(pair) for pair in split.held_out}
    assert [pair for pair in pairs if id(pair) in held_out] == split.held_out
    assert [pair for pair in pairs if id(pair) not in held_out] == split.train
    if share == 0:
        assert not split.held_out


@given(some_pairs, some_groups, shares, st.integers(0, 5))
def test_no_video_and_no_duplicate_is_on_both_sides(pairs, groups, share, seed):
    split = split_pairs(pairs, held_out_share=share, seed=seed, groups=groups)

    sides = [{pair.video_id for pair in side} for side in (split.train, split.held_out)]
    assert not sides[0] & sides[1]
    numbers = [{groups[id_] for id_ in side if id_ in groups} for side in sides]
    assert not numbers[0] & numbers[1]


@given(st.sets(st.integers(0, 30)))
def test_the_same_content_is_on_one_side(videos):
    pairs = [make_pair(video, "text", content=video % 6) for video in videos]

    split = split_pairs(pairs, held_out_share=0.5)

    assert not {p.sha256 for p in split.train} & {p.sha256 for p in split.held_out}


@given(some_pairs, some_groups, shares, st.integers(0, 5))
def test_by_captions_every_video_is_trained_on(pairs, groups, share, seed):
    split = split_pairs(
        pairs, held_out_share=share, seed=seed, groups=groups, hold_out=HoldOut.CAPTIONS
    )

    true = {pair.video_id for pair in pairs if not pair.is_negative}
    assert true == {pair.video_id for pair in split.train if not pair.is_negative}
    said = [{(p.sha256, p.text.casefold()) for p in side} for side in (split.train, split.held_out)]
    assert not said[0] & said[1]


@pytest.mark.parametrize("hold_out", HoldOut)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_share_is_about_what_was_asked(hold_out, share):
    pairs = [make_pair(video, f"text {n}") for video in range(1000) for n in range(6)]

    split = split_pairs(pairs, held_out_share=share, hold_out=hold_out)

    assert len(split.held_out) / len(pairs) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("hold_out", HoldOut)
def test_what_is_added_moves_nothing(hold_out):
    before = [make_pair(video, f"text {n}") for video in range(40) for n in range(4)]
    after = [*before, *(make_pair(video, f"new {n}") for video in range(80) for n in range(4))]

    first = split_pairs(before, held_out_share=0.2, hold_out=hold_out)
    then = split_pairs(after, held_out_share=0.2, hold_out=hold_out)

    known = {pair.origin_id for pair in before}
    assert [p for p in then.held_out if p.origin_id in known] == first.held_out


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("num_videos", [2, 3, 5])
def test_few_videos_leave_neither_side_empty(seed, num_videos):
    pairs = [make_pair(video, "text") for video in range(num_videos)]
    pairs.append(make_pair(99, "wrong", is_negative=True))

    split = split_pairs(pairs, held_out_share=0.2, seed=seed)

    assert any(not pair.is_negative for pair in split.train)
    assert any(not pair.is_negative for pair in split.held_out)


@pytest.mark.parametrize("seed", range(20))
def test_few_captions_leave_neither_side_empty(seed):
    pairs = [make_pair(1, "only one"), make_pair(2, "first"), make_pair(2, "second")]

    split = split_pairs(pairs, held_out_share=0.1, seed=seed, hold_out=HoldOut.CAPTIONS)

    assert [pair.video_id.int for pair in split.held_out] == [2]


def test_one_video_alone_is_trained_on():
    pairs = [make_pair(1, "text"), make_pair(1, "other")]

    assert split_pairs(pairs, held_out_share=0.9).train == pairs
    assert split_pairs([], held_out_share=0.5).held_out == []


def test_another_seed_holds_out_others():
    pairs = [make_pair(video, "text") for video in range(50)]
    held_out = {
        tuple(p.video_id for p in split_pairs(pairs, held_out_share=0.3, seed=seed).held_out)
        for seed in range(5)
    }

    assert len(held_out) == 5


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_nothing_and_everything(share):
    with pytest.raises(ValueError, match="held out"):
        split_pairs([], held_out_share=share)
