"""Every way to search, on networks whose answers can be counted by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from model.bundle import load_bundle
from model.evaluate import evaluate_world, measure_world
from model.measure import Gallery, measure, pairs_per_s
from model.retrieval import MatcherMissingError, RetrievalModel, RetrieverMissingError, Tokens

SPEC_FIELDS = ("R@1", "R@5", "R@10", "MdR", "MnR", "nDCG@10")
NUM_VIDEOS = 8


@dataclass
class Table(RetrievalModel):
    """A model that looks its answers up: clip and text i are filled with the number i."""

    spec: object
    similarity: torch.Tensor
    log_odds: torch.Tensor
    num_matched: int = 0

    def tokenize(self, texts):
        ids = torch.tensor([[int(text)] for text in texts])
        return Tokens(ids, torch.ones_like(ids, dtype=torch.bool))

    def embed_text(self, tokens):
        if not self.spec.has_retriever:
            raise RetrieverMissingError
        return self.similarity[tokens.ids[:, 0]]

    def embed_video(self, clips):
        return torch.eye(self.similarity.shape[1])[clips[:, 0, 0, 0, 0].long()]

    def match(self, tokens, clips):
        if not self.spec.has_matcher:
            raise MatcherMissingError
        self.num_matched += len(clips)
        return self.log_odds[tokens.ids[:, 0], clips[:, 0, 0, 0, 0].long()]


@pytest.fixture(scope="module")
def spec(bundle_dir):
    return load_bundle(bundle_dir).spec


@pytest.fixture
def table(spec):
    """The dual stream puts the right one third; the fused pass puts it first."""
    similarity = torch.eye(NUM_VIDEOS).roll(1, 1) + torch.eye(NUM_VIDEOS).roll(2, 1)
    similarity = similarity + 0.5 * torch.eye(NUM_VIDEOS) - 0.01 * torch.rand(NUM_VIDEOS, 1)
    return Table(spec, similarity, 3 * torch.eye(NUM_VIDEOS))


def gallery(num_videos=NUM_VIDEOS, texts_each=1):
    clips = torch.arange(num_videos, dtype=torch.uint8)[:, None, None, None, None]
    texts = [str(number) for number in range(num_videos * texts_each)]
    return Gallery(texts, clips, np.arange(len(texts)) // texts_each)


def by_label(report):
    return {stream.label: stream for stream in report.streams}


def test_the_fused_pass_finds_what_lies_within_its_depth(table):
    found = by_label(measure(table, gallery(), depths=[2, 3]))

    assert list(found) == ["dual stream", "re-ranked (2)", "re-ranked (3)"]
    assert [found[label].t2v.recall.r1 for label in found] == [0, 0, 100]
    assert [found[label].t2v.recall.mean_rank for label in found] == [3, 3, 1]
    assert [found[label].v2t.recall.r1 for label in found] == [0, 0, 100]


def test_each_pair_is_matched_once_whatever_the_depths(table):
    measure(table, gallery(), depths=[1, 2, 2])

    best_two = {(text, (text + step) % NUM_VIDEOS) for text in range(NUM_VIDEOS) for step in (1, 2)}
    assert table.num_matched == len(best_two)


def test_full_fused_matches_every_pair_once_and_shows_the_limit_of_re_ranking(table):
    found = by_label(measure(table, gallery(), depths=[2], full_fused=True))

    assert list(found) == ["dual stream", "re-ranked (2)", "re-ranked (all)", "full fused"]
    assert table.num_matched == NUM_VIDEOS**2
    assert found["full fused"].t2v.recall.r1 == found["re-ranked (all)"].t2v.recall.r1 == 100


def test_re_ranking_adds_the_similarity_with_its_weight_and_full_fused_does_not(table, spec):
    table.spec = replace(spec, similarity_weight=100.0)

    found = by_label(measure(table, gallery(), depths=[3], full_fused=True))

    assert found["re-ranked (3)"].t2v.recall.r1 == found["re-ranked (all)"].t2v.recall.r1 == 0
    assert found["full fused"].t2v.recall.r1 == 100


def test_a_model_without_a_matcher_has_the_dual_stream_alone(table, spec):
    table.spec = replace(spec, has_matcher=False)

    assert list(by_label(measure(table, gallery(), full_fused=True))) == ["dual stream"]


def test_a_model_without_a_joint_space_matches_every_pair(table, spec):
    table.spec = replace(spec, has_retriever=False)

    found = by_label(measure(table, gallery(), depths=[2]))

    assert list(found) == ["full fused"]
    assert table.num_matched == NUM_VIDEOS**2


def test_several_texts_of_a_video_are_several_queries_and_one_answer(spec):
    similarity = torch.zeros(6, 2)
    similarity[[0, 1, 2, 3], [0, 0, 0, 1]] = torch.tensor([0.9, 0.8, 0.7, 0.6])
    similarity[4:, 0] = 1.0
    model = Table(replace(spec, has_matcher=False), similarity, similarity)

    (stream,) = measure(model, gallery(2, texts_each=3)).streams

    assert stream.t2v.ranking.ranks.tolist() == [0, 0, 0, 0, 1, 1]
    assert stream.v2t.ranking.ranks.tolist() == [2, 0]


def test_progress_tells_every_stage_to_its_end(table):
    told = []

    measure(table, gallery(), depths=[3], progress=lambda *facts: told.append(facts))

    assert told[0] == ("clips embedded", NUM_VIDEOS, NUM_VIDEOS)
    assert told[-1] == ("pairs matched", table.num_matched, table.num_matched)


def test_a_model_that_gives_nan_is_no_perfect_model(table):
    table.log_odds[0, 0] = float("nan")

    with pytest.raises(ValueError, match="not finite"):
        measure(table, gallery())


def test_a_depth_of_nothing_is_refused(table):
    with pytest.raises(ValueError, match="best 0"):
        measure(table, gallery(), depths=[16, 0])


def test_the_report_names_streams_as_before_and_new_ones_beside_them(table):
    found = measure(table, gallery(), depths=[3, 2], full_fused=True).to_json()

    assert found["gallery"] == {"texts": NUM_VIDEOS, "videos": NUM_VIDEOS}
    for direction in ("t2v", "v2t"):
        streams = found[direction]
        assert list(streams) == ["dual_stream", "reranked", "reranked_at", "full_fused"]
        assert list(streams["reranked_at"]) == ["3", "2", "all"]
        assert streams["reranked"] == streams["reranked_at"]["3"]
        assert tuple(streams["full_fused"]) == (*SPEC_FIELDS, "intervals")
        assert tuple(streams["full_fused"]["intervals"]) == SPEC_FIELDS


def test_the_world_is_measured_as_a_model_reads_it(bundle_dir):
    found = evaluate_world(load_bundle(bundle_dir), num_videos=12, seed=3)

    assert found == evaluate_world(load_bundle(bundle_dir), num_videos=12, seed=3)
    assert found != evaluate_world(load_bundle(bundle_dir), num_videos=12, seed=4)
    assert found["temporal_order"]["num_texts"] == 6
    assert set(found["temporal_order"]) == {"fused", "dual_stream", "num_texts"}
    assert found["gallery"] == {"texts": 12, "videos": 12}


def test_families_are_drawn_together(bundle_dir):
    (stream, *_) = measure_world(load_bundle(bundle_dir), num_videos=8, seed=0).report.streams

    assert stream.t2v.ranking.groups.tolist() == [0] * 4 + [1] * 4


def test_a_trial_tells_how_fast_pairs_are_matched(bundle_dir):
    assert pairs_per_s(load_bundle(bundle_dir), frames_per_clip=3) > 0
