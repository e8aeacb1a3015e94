"""Which patches should roll, and how many? Short runs that differ in nothing else.

`python bench/rolling.py`: a small network learns motions in simple videos,
first the dual stream, then the fused pass on a video and its reversal; printed is the share of held
out texts that the fused pass gives to their video rather than to its reversal.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from model.all_in_one.dims import Dims
from model.all_in_one.network import AllInOne, build
from model.data import Batch, collate
from model.objectives.checking import Checker
from model.objectives.naming import Namer
from model.plan import Plan
from model.recipes.world import WorldRecipe
from model.recipes.world_objectives import WorldObjectives
from model.train import Training
from model.world.batches import WorldBatches
from model.world.checkpoint import COARSE, PREPROCESSING, TOKENIZER, make_masker
from model.world.labels import NUM_CLASSES, WEIGHTS
from model.world.preparation import prepare

NEVER = 10**9
HELD_OUT = 10**6  # number of the first step whose batch is for measuring
DUAL_STEPS, FUSED_STEPS, MEASURED_BATCHES = 600, 250, 16
ARMS = {
    "none": {"roll_share": 1000},
    "raster/8": {"roll_share": 8, "roll_order": "raster"},
    "spread/8": {"roll_share": 8, "roll_order": "spread"},
    "raster/4": {"roll_share": 4, "roll_order": "raster"},
    "spread/4": {"roll_share": 4, "roll_order": "spread"},
}


def main() -> None:
    """Train the dual stream once, which never rolls, then the fused pass of every arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world = WorldBatches(
        seed=arguments.seed, frame_size=64, frames_per_clip=4, families=8, simple_until=NEVER
    )
    with TemporaryDirectory() as folder:
        shared = Path(folder) / "shared.safetensors"
        training = start(COARSE, arguments.seed)
        learn(training, world, until=DUAL_STEPS)
        training.save(shared)
        for arm in arguments.arms:
            training = start(replace(COARSE, **ARMS[arm]), arguments.seed)
            training.load(shared)
            learn(training, world, until=DUAL_STEPS + FUSED_STEPS)
            training.network.load_state_dict(training.average)
            figures = measure(training.network, partial(batch_of, world))
            print(json.dumps({"arm": arm, "seed": arguments.seed, **figures}), flush=True)


def start(dims: Dims, seed: int) -> Training[WorldRecipe]:
    """Return a fresh run."""
    torch.manual_seed(seed)
    network = build(dims)
    prepare(network, seed=seed)
    plan = Plan(
        steps=DUAL_STEPS + FUSED_STEPS,
        cooldown_steps=100,
        average=0.98,
        seed=seed,
    )
    objectives = WorldObjectives(
        fused_from=DUAL_STEPS,
        twin_share=1.0,
        group_share=1.0,
        contrast_every=4,
        checking_weight=1.0,
        masked_texts=0,
    )
    namer = Namer(width=dims.projection, num_classes=NUM_CLASSES, weights=WEIGHTS)
    checker = Checker(width=dims.width, num_facts=len(NUM_CLASSES))
    masker = make_masker(TOKENIZER)
    recipe = WorldRecipe(
        network=network, namer=namer, checker=checker, masker=masker, objectives=objectives
    )
    return Training(recipe=recipe, plan=plan)


def learn(training: Training[WorldRecipe], world: WorldBatches, *, until: int) -> None:
    """Train up to a step."""
    steps = map(partial(batch_of, world), range(training.step, until))
    for step in training.run(steps):
        if step.number % 50 == 0:
            print(step.number, {k: round(v, 3) for k, v in step.losses.items()}, flush=True)


def batch_of(world: WorldBatches, step: int) -> Batch:
    """Return the batch of a step."""
    return collate(world(step), TOKENIZER, preprocessing=PREPROCESSING)


@torch.inference_mode()
def measure(network: AllInOne, make: Callable[[int], Batch]) -> dict[str, float]:
    """Return in percent how often texts prefer their video to its reversal."""
    network.eval()
    right = {"fused": [], "dual_stream": []}
    for step in range(HELD_OUT, HELD_OUT + MEASURED_BATCHES):
        batch = make(step)
        first = torch.arange(0, len(batch.groups), 4)
        texts, twins = torch.cat((first, first + 1)), torch.cat((first + 1, first))
        ids, mask = batch.tokens.ids[texts], batch.tokens.mask[texts]
        visual = network.visual_tokens(batch.frames)
        own, other = (network.match(ids, mask, visual[v]).diff()[:, 0] for v in (texts, twins))
        right["fused"].append(own > other)
        read, seen = network.embed_text(ids, mask), network.embed_video(batch.frames)
        closer = (read * seen[texts]).sum(1) > (read * seen[twins]).sum(1)
        right["dual_stream"].append(closer)
    return {name: round(100 * torch.cat(v).float().mean().item(), 1) for name, v in right.items()}


if __name__ == "__main__":
    main()
