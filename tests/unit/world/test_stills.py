"""Stills among the clips of training, and finer patches that go on with what coarser ones know."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.all_in_one.dims import Dims
from model.all_in_one.network import build
from model.data import Batch, collate
from model.masking import WordMasker
from model.objectives.checking import Checker
from model.objectives.naming import UNKNOWN, Namer
from model.plan import Plan
from model.preprocessing import Preprocessing
from model.recipes.world import WorldRecipe
from model.recipes.world_objectives import WorldObjectives
from model.train import Training
from model.world.batches import WorldBatches
from model.world.finer import take_over
from model.world.labels import NUM_CLASSES, WEIGHTS
from model.world.preparation import prepare
from model.world.stills import MixedBatches, StillBatches, StillRecipe
from model.world.vocabulary import MASK, SPECIAL, make_tokenizer

TOKENIZER = make_tokenizer(40)
COARSE = Dims(
    width=32,
    depth=2,
    heads=2,
    patch=16,
    frame_size=32,
    frames=4,
    max_text_tokens=40,
    vocabulary=TOKENIZER.get_vocab_size(),
    projection=32,
    roll_share=2,
)
PREPROCESSING = Preprocessing(resize_short=32, frame_size=32, frames_per_clip=4)
STILLS = StillBatches(seed=3, frame_size=32, stills=16, asked=6)
CLIPS = WorldBatches(seed=3, frame_size=32, frames_per_clip=4, families=3)
MIXED = MixedBatches(clips=CLIPS, stills=STILLS, clips_every=2)


def batch(step: int) -> Batch:
    return collate(MIXED(step), TOKENIZER, preprocessing=PREPROCESSING)


def start(plan: Plan) -> Training[StillRecipe]:
    torch.manual_seed(1)
    network = build(COARSE)
    prepare(network, seed=1)
    clips = WorldRecipe(
        network=network,
        namer=Namer(width=COARSE.projection, num_classes=NUM_CLASSES, weights=WEIGHTS),
        checker=Checker(width=COARSE.width, num_facts=len(NUM_CLASSES)),
        masker=WordMasker(
            mask_id=MASK,
            special_ids=list(range(len(SPECIAL))),
            is_continuation=torch.zeros(COARSE.vocabulary, dtype=torch.bool),
        ),
        objectives=WorldObjectives(rivals=3, masked_texts=2),
    )
    return Training(recipe=StillRecipe(clips), plan=plan)


def test_equal_numbers_give_equal_stills():
    assert np.array_equal(STILLS(5).clips, STILLS(5).clips)
    assert not np.array_equal(STILLS(5).clips, STILLS(6).clips)


def test_stills_tell_how_things_look_but_not_what_happens():
    facts = STILLS(1).clip_facts
    assert (facts[:, [0, 3, 4]] == UNKNOWN).all()
    assert (facts[:, [1, 2, 5, 7, 8]] != UNKNOWN).all()


def test_texts_about_stills_tell_them_from_their_counterparts():
    raw = StillBatches(seed=3, frame_size=16, stills=64, asked=64)(2)
    own, other = raw.text_facts[:64], raw.text_facts[64:]
    differ = (own != other) & (raw.clip_facts[:64] != raw.clip_facts[64:])
    assert differ.any(axis=1).all()
    shown = raw.clip_facts[:64]
    assert ((own == shown) | (own == UNKNOWN)).all()
    assert not any("{" in text for text in raw.texts)


def test_stills_come_between_clips():
    shapes = [MIXED(step).clips.shape[:2] for step in range(4)]
    assert shapes == [(12, 4), (16, 1), (12, 4), (16, 1)]


def test_both_are_trained_in_turn():
    clips, stills = start(Plan(steps=2)).run([batch(0), batch(1)])
    assert "contrast" in clips.losses
    assert set(stills.losses) == {"stills", "matching", "ranking", "checked", "right"}


def test_the_fused_pass_need_not_be_asked_about_stills():
    quiet = replace(STILLS, asked=0)(1)
    made = collate(quiet, TOKENIZER, preprocessing=PREPROCESSING)
    (step,) = start(Plan(steps=1)).run([made])
    assert set(step.losses) == {"stills"}


def test_stills_can_be_learned_by_heart():
    training = start(Plan(steps=30, learning_rate=3e-3))
    losses = [step.losses["stills"] for step in training.run([batch(1)] * 30)]
    assert losses[-1] < losses[0] / 2


def test_a_finer_network_takes_over_words_and_blocks():
    coarse = build(COARSE)
    prepare(coarse, seed=1)
    torch.manual_seed(2)
    fine = build(replace(COARSE, patch=8, vocabulary=COARSE.vocabulary + 5))
    words = fine.text_embeddings.word_embeddings.weight[-5:].clone()
    take_over(fine, coarse.state_dict())
    assert torch.equal(fine.text_embeddings.word_embeddings.weight[-5:], words)
    ids = torch.tensor([[2, 120, 130, 3]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    assert torch.equal(fine.embed_text(ids, mask), coarse.embed_text(ids, mask))


def test_finer_patches_see_flat_frames_as_coarse_ones_do():
    coarse = build(COARSE)
    prepare(coarse, seed=1)
    fine = build(replace(COARSE, patch=8))
    take_over(fine, coarse.state_dict())
    grey = torch.full((1, 4, 3, 32, 32), 0.5)
    seen = [network.transformer.patch_embed(grey)[0, 0, 0] for network in (coarse, fine)]
    assert seen[1].tolist() == pytest.approx(seen[0].tolist(), abs=1e-4)


def test_places_keep_their_order_when_patches_get_finer():
    coarse = build(COARSE)
    coarse.transformer.pos_embed.data[0, 1:, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])  # rows
    fine = build(replace(COARSE, patch=8))
    take_over(fine, coarse.state_dict())
    rows = fine.transformer.pos_embed[0, 1:, 0].unflatten(0, (4, 4))
    assert (rows[0] < rows[1]).all()
    assert (rows[1] < rows[2]).all()
    assert rows[0].tolist() == pytest.approx([rows[0, 0].item()] * 4, abs=1e-5)
