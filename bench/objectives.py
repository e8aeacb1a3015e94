"""What each choice is worth: short runs on the procedural world that differ in nothing else.

`python bench/objectives.py`: every arm trains a small network from nothing, with the same seed and
on the same videos of simple stories; printed is how well it then finds 1,000 simple videos, in
families, that no run has seen, one JSON object an arm. Runs as short as these rank choices; none
of them is a finished model.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch

from model.all_in_one.dims import Dims
from model.all_in_one.network import build as build_all_in_one
from model.bundle import load_bundle, save_bundle
from model.clover.dims import CloverDims
from model.clover.network import build as build_clover
from model.data import Batch, collate
from model.evaluate import temporal_order
from model.measure import Gallery
from model.measure import measure as measure_gallery
from model.objectives.checking import Checker
from model.objectives.naming import Namer
from model.plan import Plan
from model.preprocessing import Preprocessing
from model.recipes.clover import CloverObjectives, CloverRecipe
from model.recipes.native import NativeObjectives, NativeRecipe
from model.recipes.recipe import Recipe
from model.recipes.world import WorldRecipe
from model.recipes.world_objectives import WorldObjectives
from model.retrieval import clips_to_tensor
from model.semantic_masking import SemanticMasker
from model.train import Training
from model.world.batches import WorldBatches
from model.world.checkpoint import DIMS, PREPROCESSING, TOKENIZER, make_masker
from model.world.drawing import SIMPLE
from model.world.families import FAMILY_SIZE, family
from model.world.labels import NUM_CLASSES, WEIGHTS
from model.world.preparation import prepare
from model.world.render import bin_centres, render
from model.world.story import Facet

STEPS, FUSED_FROM = 1000, 500
FAMILIES = 12  # of four videos, a batch
NEVER = 10**9
GALLERY_SEED = 5001
SIMILARITY_WEIGHT = 30.0
SHOW_EVERY = 50
SMALL = Dims(
    width=DIMS.width,
    depth=DIMS.depth,
    heads=DIMS.heads,
    patch=16,
    frame_size=64,
    frames=3,
    max_text_tokens=DIMS.max_text_tokens,
    vocabulary=TOKENIZER.get_vocab_size(),
    projection=DIMS.projection,
)
CLOVER = CloverDims(
    embed_width=32,
    depths=(1, 1, 2),
    window=(2, 8, 8),
    frame_size=64,
    frames=4,
    width=128,
    text_depth=2,
    text_heads=4,
    max_text_tokens=DIMS.max_text_tokens,
    vocabulary=TOKENIZER.get_vocab_size(),
    fusion_depth=2,
    projection=128,
    projection_hidden=256,
)
OBJECTIVES = WorldObjectives(
    rivals=8,
    twin_share=0.3,
    group_share=0.6,
    fused_from=FUSED_FROM,
    contrast_every=2,
    checking_weight=2.0,
    masked_texts=4,
)
Kind = Literal["world", "native", "clover"]


@dataclass(frozen=True)
class Arm:
    """One run: sizes of its network, and what it learns."""

    learns: Kind = "world"
    sizes: dict[str, Any] = field(default_factory=dict)
    is_clover: bool = False

    @property
    def dims(self) -> Dims | CloverDims:
        """Sizes of the network."""
        joint = {"has_joint_heads": True} if self.learns == "clover" else {}
        return replace(CLOVER if self.is_clover else SMALL, **self.sizes, **joint)


ARMS = {
    "shipped objectives, 3 frames": Arm(),
    "All-in-One's own objectives": Arm("native"),
    "with Clover's objectives": Arm("clover"),
    "no rolling": Arm(sizes={"roll_share": 1000}),
    "rolling in the unimodal passes": Arm(sizes={"rolls_unimodal": True}),
    "spread permutation": Arm(sizes={"roll_order": "spread"}),
    "1 frame": Arm(sizes={"frames": 1}),
    "8 frames": Arm(sizes={"frames": 8}),
    "small Clover": Arm("clover", is_clover=True),
}


def main() -> None:
    """Train and measure every arm that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--videos", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.arms:
        trained = train(ARMS[name], seed=arguments.seed, steps=arguments.steps)
        figures = measure(trained, ARMS[name], num_videos=arguments.videos)
        about = {"arm": name, "seed": arguments.seed, "steps": arguments.steps}
        print(json.dumps({**about, **figures}), flush=True)


def train(arm: Arm, *, seed: int, steps: int) -> Training[Recipe]:
    """Train an arm from nothing."""
    torch.manual_seed(seed)
    dims = arm.dims
    if isinstance(dims, CloverDims):
        network = build_clover(dims, temporal_init_std=1.0)
    else:
        network = build_all_in_one(dims)
        prepare(network, seed=seed)
    plan = Plan(steps=steps, cooldown_steps=steps // 3, average=0.99, seed=seed)
    training = Training(recipe=recipe_of(arm, network, dims), plan=plan)
    for step in training.run(batches(dims.frames, seed, steps)):
        if step.number % SHOW_EVERY == 0:
            losses = " ".join(f"{name} {value:.2f}" for name, value in step.losses.items())
            sys.stderr.write(f"{step.number} {losses}\n")
    return training


def recipe_of(arm: Arm, network: torch.nn.Module, dims: Dims | CloverDims) -> Recipe:
    """Return what an arm learns."""
    if arm.learns == "native":
        return NativeRecipe(
            network=network,
            masker=make_masker(TOKENIZER),
            objectives=NativeObjectives(),
            num_special=1,
        )
    if arm.learns == "clover":
        masker = SemanticMasker(TOKENIZER)
        return CloverRecipe(network=network, masker=masker, objectives=CloverObjectives())
    return WorldRecipe(
        network=network,
        namer=Namer(width=dims.projection, num_classes=NUM_CLASSES, weights=WEIGHTS),
        checker=Checker(width=dims.width, num_facts=len(NUM_CLASSES)),
        masker=make_masker(TOKENIZER),
        objectives=OBJECTIVES,
    )


def preprocessing_of(frames: int) -> Preprocessing:
    """Return how clips of so many frames are scaled."""
    return replace(PREPROCESSING, resize_short=64, frame_size=64, frames_per_clip=frames)


def batches(frames: int, seed: int, steps: int) -> Iterator[Batch]:
    """Yield the batches of a run: simple stories first."""
    world = WorldBatches(
        seed=seed,
        frame_size=64,
        frames_per_clip=frames,
        families=FAMILIES,
        simple_until=NEVER,
        terse_from=NEVER,
        facets=(Facet.COLOUR, Facet.EVENT, Facet.KIND),
    )
    for step in range(steps):
        yield collate(world(step), TOKENIZER, preprocessing=preprocessing_of(frames))


def measure(training: Training[Recipe], arm: Arm, *, num_videos: int) -> dict[str, Any]:
    """Serve the running average of the weights as any bundle, and search with it."""
    network = training.network
    network.load_state_dict(training.average)
    with TemporaryDirectory() as folder:
        save_bundle(
            Path(folder),
            network=network,
            dims=arm.dims,
            preprocessing=preprocessing_of(arm.dims.frames),
            tokenizer_json=TOKENIZER.to_str(),
            card={},
            similarity_weight=SIMILARITY_WEIGHT,
        )
        model = load_bundle(Path(folder))
    made = make_gallery(model.spec.frames_per_clip, num_videos)
    report = measure_gallery(model, made).to_json()["t2v"]
    return {
        **{stream: report[stream] for stream in ("dual_stream", "reranked")},
        "temporal_order": temporal_order(model, made),
    }


def make_gallery(frames: int, num_videos: int) -> Gallery:
    """Return held-out videos of simple stories in families, and captions of the test split."""
    members = [
        member
        for number in range(num_videos // FAMILY_SIZE)
        for member in family(f"{GALLERY_SEED}/{number}", split="test", level=SIMPLE, detail=0.9)
    ]
    times, numbers = bin_centres(frames), np.arange(len(members))
    clips = clips_to_tensor([render(member.story, times, 64) for member in members])
    texts = [member.caption.text for member in members]
    return Gallery(texts, clips, numbers, groups=numbers // FAMILY_SIZE)


if __name__ == "__main__":
    main()
