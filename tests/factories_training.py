"""Tiny networks and batches to train them on."""

import numpy as np
import torch

from model.all_in_one.dims import Dims
from model.all_in_one.network import build
from model.clover.dims import CloverDims
from model.clover.network import build as build_clover
from model.data import Batch, RawBatch, collate
from model.masking import WordMasker
from model.plan import Plan
from model.preprocessing import Preprocessing
from model.recipes.clover import CloverObjectives, CloverRecipe
from model.recipes.native import NativeObjectives, NativeRecipe
from model.semantic_masking import SemanticMasker
from model.train import Training
from model.world.vocabulary import make_tokenizer

TOKENIZER = make_tokenizer(16)
PREPROCESSING = Preprocessing(resize_short=32, frame_size=32, frames_per_clip=2)
ALL_IN_ONE = Dims(
    width=32,
    depth=2,
    heads=2,
    patch=8,
    frame_size=32,
    frames=2,
    max_text_tokens=16,
    vocabulary=TOKENIZER.get_vocab_size(),
    projection=16,
    roll_share=4,
    has_joint_heads=True,
)
CLOVER = CloverDims(
    embed_width=8,
    depths=(1, 1),
    heads=(1, 2),
    window=(2, 2, 2),
    patch=4,
    frame_size=32,
    frames=2,
    width=24,
    text_depth=1,
    text_heads=2,
    mlp_width=48,
    max_text_tokens=16,
    vocabulary=TOKENIZER.get_vocab_size(),
    fusion_depth=1,
    projection=16,
    projection_hidden=24,
    mask_grid=4,
)
PLAN = Plan(steps=6, learning_rate=1e-3, warmup_steps=2, precision="float32", seed=5)
COLOURS = ("red", "green", "blue", "yellow", "white", "orange")
THINGS = ("circle", "square", "triangle", "star", "ring")
MOVES = ("moves right", "moves left", "grows", "rises and then falls")


def text_of(number: int) -> str:
    """Return one of many captions, of several lengths."""
    colour, thing = COLOURS[number % len(COLOURS)], THINGS[number % len(THINGS)]
    return f"a {colour} {thing} {MOVES[number % len(MOVES)]}"


def batch_of(step: int, *, count: int = 8, rows: slice | None = None) -> Batch:
    """Return the batch of a step, or some rows of it as a process among others would have them."""
    rows = rows or slice(0, count)
    drawn = np.random.default_rng(step)
    clips = drawn.integers(0, 256, (count, 2, 32, 32, 3), dtype=np.uint8)
    raw = RawBatch(
        clips=clips[rows],
        texts=[text_of(step * count + row) for row in range(count)],
        groups=np.arange(count),
        is_true=np.eye(count, dtype=bool),
        clip_facts=np.zeros((count, 0), np.int64),
        text_facts=np.zeros((count, 0), np.int64),
        first_row=rows.start,
    )
    return collate(raw, TOKENIZER, preprocessing=PREPROCESSING)


def native_training(
    plan: Plan = PLAN,
    objectives: NativeObjectives | None = None,
    *,
    dropout: float = 0.0,
    seed: int = 0,
) -> Training[NativeRecipe]:
    """Return a fresh run of All-in-One's objectives."""
    torch.manual_seed(seed)
    network = build(ALL_IN_ONE, dropout=dropout)
    recipe = NativeRecipe(
        network=network,
        masker=WordMasker.of(TOKENIZER, share=0.3),
        objectives=objectives or NativeObjectives(ranking_weight=0.5),
        num_special=ALL_IN_ONE.num_special,
    )
    return Training(recipe=recipe, plan=plan)


def clover_training(
    plan: Plan = PLAN,
    objectives: CloverObjectives | None = None,
    *,
    family: str = "all_in_one",
    dropout: float = 0.0,
    seed: int = 0,
) -> Training[CloverRecipe]:
    """Return a fresh run of Clover's objectives, on either family."""
    torch.manual_seed(seed)
    is_clover = family == "clover"
    network = (
        build_clover(CLOVER, dropout=dropout) if is_clover else build(ALL_IN_ONE, dropout=dropout)
    )
    recipe = CloverRecipe(
        network=network,
        masker=SemanticMasker(TOKENIZER),
        objectives=objectives or CloverObjectives(),
    )
    return Training(recipe=recipe, plan=plan)
