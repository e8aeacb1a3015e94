"""Which patches should roll, and how many? Short runs that differ in nothing else.

`python bench/rolling.py --arm spread/4`: one arm. A small network learns motions in simple videos,
first the dual stream, then the fused pass on a video and its reversal; printed is the share of held
out texts that the fused pass gives to their video rather than to its reversal.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from model.all_in_one.network import AllInOne, build
from model.data import Batch, collate
from model.objectives.checking import Checker
from model.objectives.naming import Namer
from model.plan import Plan
from model.train import Training
from model.world.batches import WorldBatches
from model.world.checkpoint import DIMS, PREPROCESSING, TOKENIZER, make_masker
from model.world.labels import NUM_CLASSES, WEIGHTS
from model.world.preparation import prepare

NEVER = 10**9
HELD_OUT = 10**6  # number of the first step whose batch is for measuring
DUAL_STEPS, FUSED_STEPS, MEASURED_BATCHES = 500, 300, 8
ARMS = {
    "none": {"roll_share": 1000},
    "raster/8": {"roll_share": 8, "roll_order": "raster"},
    "spread/8": {"roll_share": 8, "roll_order": "spread"},
    "raster/4": {"roll_share": 4, "roll_order": "raster"},
    "spread/4": {"roll_share": 4, "roll_order": "spread"},
}


def main() -> None:
    """Train and measure one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", choices=list(ARMS), required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    dims = replace(DIMS, **ARMS[arguments.arm])
    network = build(dims)
    prepare(network, seed=arguments.seed)
    world = WorldBatches(
        seed=arguments.seed, frame_size=64, frames_per_clip=4, families=8, simple_until=NEVER
    )
    plan = Plan(
        steps=DUAL_STEPS + FUSED_STEPS,
        cooldown_steps=100,
        fused_from=DUAL_STEPS,
        twin_share=1.0,
        group_share=1.0,
        contrast_every=4,
        masked_texts=0,
        average=0.98,
        seed=arguments.seed,
    )
    namer = Namer(width=dims.projection, num_classes=NUM_CLASSES, weights=WEIGHTS)
    checker = Checker(width=dims.width, num_facts=len(NUM_CLASSES))
    masker = make_masker(TOKENIZER)
    training = Training(network=network, namer=namer, checker=checker, masker=masker, plan=plan)
    make = partial(batch_of, world)
    started_s = time.monotonic()
    for step in training.run(map(make, range(plan.steps))):
        if step.number % 50 == 0:
            print(arguments.arm, step.number, step.losses, flush=True)
    network.load_state_dict(training.average)
    result = {"arm": arguments.arm, "seed": arguments.seed, **measure(network, make)}
    print(json.dumps({**result, "seconds": round(time.monotonic() - started_s)}))


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
