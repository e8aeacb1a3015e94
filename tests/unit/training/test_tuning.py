"""Tuning: a new bundle from one's own videos, resumed after a stop, with more words and heads."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from model.adapting import adapt
from model.all_in_one.network import build
from model.bundle import load_bundle, load_trainable, save_bundle
from model.distributed import Processes
from model.growing import grow_rows, grow_vocabulary
from model.pairs import VideoPair
from model.tuning.choices import Choices, plan_for
from model.tuning.tune import Listener, TuningError, tune
from tests.factories_training import ALL_IN_ONE, PREPROCESSING, TOKENIZER
from tests.factories_video import make_video

CAPTIONS = (
    ("a zebra crosses the road", "zebra crossing"),
    ("two children play",),
    ("a boat on the water",),
    ("someone cooks pasta",),
)
CHOICES = Choices(steps=6, batch=4, micro_batch=3, precision="float32")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four videos that can be read, and one that cannot."""
    folder = tmp_path_factory.mktemp("videos")
    pairs = [
        VideoPair(
            path=make_video(folder / f"{n}.mp4", seconds=1.0, seed=n), captions=texts, line=n + 1
        )
        for n, texts in enumerate(CAPTIONS)
    ]
    broken = folder / "broken.mp4"
    broken.write_bytes(b"x")
    return [*pairs, VideoPair(path=broken, captions=("nothing",), line=5)]


@pytest.fixture
def bundle(tmp_path):
    """A tiny bundle that can match but not retrieve, and never learned Clover's objectives."""
    dims = replace(ALL_IN_ONE, has_projections=False, has_joint_heads=False)
    torch.manual_seed(1)
    save_bundle(
        tmp_path / "source",
        network=build(dims),
        dims=dims,
        preprocessing=PREPROCESSING,
        tokenizer_json=TOKENIZER.to_str(),
        card={"name": "tiny", "license": "Apache-2.0"},
        similarity_weight=2.0,
    )
    return tmp_path / "source"


def test_tuning_makes_a_bundle_that_retrieves_and_says_where_it_is_from(tmp_path, bundle, videos):
    left_out, steps = [], []
    told = Listener(left_out=left_out.append, took=lambda step, of: steps.append((step.number, of)))
    tuned = tune(bundle, videos, tmp_path / "new", choices=CHOICES, listener=told)
    assert [one.pair.line for one in left_out] == [5]
    assert steps == [(n, 6) for n in range(1, 7)]
    assert tuned.num_pairs == 4
    assert 0 <= tuned.wait_share <= 1
    model = load_bundle(tmp_path / "new")
    assert model.spec.has_retriever
    assert model.spec.similarity_weight == 2.0
    text = model.embed_text(model.tokenize(["two children play"]))
    assert text.norm().item() == pytest.approx(1, abs=1e-5)
    card = json.loads((tmp_path / "new" / "card.json").read_text())
    assert card["tuned_from"]["name"] == "tiny"
    assert card["license"] == "Apache-2.0"
    assert card["data"]["pairs"] == 4
    changed = {"vocabulary", "has_projections", "lexicon", "unknown"}
    assert set(card["changed_sizes"]) == changed
    assert card["digest"] == tuned.digest
    assert not (tmp_path / "new.run").exists()


@pytest.mark.parametrize("recipe", ["native", "clover"])
def test_a_run_that_is_asked_to_stop_ends_after_the_step_and_resumes_to_the_same_bundle(
    tmp_path, bundle, videos, recipe
):
    choices = replace(CHOICES, recipe=recipe, word_dropout=0.5)
    whole = tune(bundle, videos, tmp_path / "whole", choices=choices)

    def stop_at_two(step, _):
        if step.number == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = tune(
        bundle, videos, tmp_path / "new", choices=choices, listener=Listener(took=stop_at_two)
    )
    assert (stopped.digest, stopped.steps) == (None, 2)
    assert not (tmp_path / "new").exists()
    with pytest.raises(TuningError, match="other settings"):
        tune(bundle, videos, tmp_path / "new", choices=replace(choices, seed=9), resume=True)
    other = [replace(videos[0], captions=("another caption",)), *videos[1:]]
    with pytest.raises(TuningError, match="other settings or pairs"):
        tune(bundle, other, tmp_path / "new", choices=choices, resume=True)
    with pytest.raises(TuningError, match="go on with it by --resume"):
        tune(bundle, videos, tmp_path / "new", choices=choices)
    resumed = tune(bundle, videos, tmp_path / "new", choices=choices, resume=True)
    assert resumed.steps == 6
    assert resumed.digest == whole.digest
    read = load_bundle(tmp_path / "new").tokenize(["a guitar"])
    assert read.ids.shape == (1, 4)  # one word of the lexicon, not six letters


def test_what_cannot_be_tuned_says_why(tmp_path, bundle, videos):
    with pytest.raises(TuningError, match="none of the 1 videos"):
        tune(bundle, videos[4:], tmp_path / "a", choices=CHOICES)
    with pytest.raises(TuningError, match="no run that could be resumed"):
        tune(bundle, videos, tmp_path / "b", choices=CHOICES, resume=True)
    with pytest.raises(TuningError, match="holds a bundle already"):
        tune(bundle, videos, bundle, choices=CHOICES)
    with pytest.raises(TuningError, match="do not make batches"):
        tune(bundle, videos, tmp_path / "c", choices=replace(CHOICES, batch=64))


def test_unknown_words_become_words_and_the_others_keep_their_ids():
    grown, count = grow_vocabulary(TOKENIZER, ["A zebra, a red zebra!", "two pandas"])
    old = TOKENIZER.get_vocab()
    assert count == len(set(grown.get_vocab()) - set(old))
    assert {word: grown.get_vocab()[word] for word in old} == old
    assert grown.encode("a zebra").tokens == ["[CLS]", "a", "zebra", "[SEP]"]
    assert grown.token_to_id("zebra") == len(old)  # the most frequent comes first


def test_new_rows_are_drawn_like_the_old():
    torch.manual_seed(0)
    table = 3 + 2 * torch.randn(500, 4)
    grown = grow_rows(table, 4000, torch.Generator().manual_seed(0))
    assert torch.equal(grown[:500], table)
    assert torch.allclose(grown[500:].mean(dim=0), table.mean(dim=0), atol=0.2)
    assert torch.allclose(grown[500:].std(dim=0), table.std(dim=0), rtol=0.1)
    assert grow_rows(table[:, 0], 501, torch.Generator())[500] == table[:, 0].mean()


def test_a_grown_network_answers_old_questions_as_before(bundle):
    before = load_trainable(bundle)
    ids, mask = torch.tensor([[2, 50, 60, 3]]), torch.ones(1, 4, dtype=torch.bool)
    expected = before.network.eval().text_features(ids, mask)
    grown, new_words = adapt(before, ["a zebra"], needs_joint_heads=True, dropout=0.0, seed=0)
    assert new_words == 1
    assert grown.dims.has_joint_heads
    assert torch.equal(grown.network.eval().text_features(ids, mask), expected)


def test_few_pairs_are_seen_often_and_many_seldom():
    few, batch = plan_for(60, Choices(), width=128)
    assert (batch, few.steps) == (20, 120)
    many, batch = plan_for(9000, Choices(), width=768)
    assert (batch, many.steps) == (64, 1406)
    assert many.learning_rate < few.learning_rate
    most, _ = plan_for(2_500_000, Choices(), width=768)
    assert most.steps == 39062
    shared, batch = plan_for(101, Choices(), width=128, processes=Processes(0, 2).count)
    assert batch == 32
    assert shared.schedule == "cosine"
