"""The recipe of the bundled checkpoint: `python -m model.world.checkpoint --out FOLDER`."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path

import torch
from tokenizers import Tokenizer

from model.all_in_one.dims import Dims
from model.all_in_one.network import build
from model.bundle import load_bundle, save_bundle
from model.data import Batch, collate, prefetch
from model.evaluate import evaluate_world
from model.masking import WordMasker
from model.objectives.checking import Checker
from model.objectives.naming import Namer
from model.plan import Plan
from model.preprocessing import Preprocessing
from model.recipes.world import WorldRecipe
from model.recipes.world_objectives import WorldObjectives
from model.train import Step, Training
from model.world.batches import WorldBatches
from model.world.labels import NUM_CLASSES, WEIGHTS
from model.world.preparation import prepare
from model.world.vocabulary import MASK, SPECIAL, make_tokenizer

WorldTraining = Training[WorldRecipe]

SEED = 1
TOKENIZER = make_tokenizer(40)
DIMS = Dims(
    width=128,
    depth=4,
    heads=4,
    patch=16,
    frame_size=64,
    frames=4,
    max_text_tokens=40,
    vocabulary=TOKENIZER.get_vocab_size(),
    projection=128,
    roll_share=4,
    roll_order="spread",
)
PREPROCESSING = Preprocessing(
    resize_short=64, frame_size=64, frames_per_clip=4, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)
WORLD = WorldBatches(
    seed=SEED,
    frame_size=DIMS.frame_size,
    frames_per_clip=DIMS.frames,
    simple_until=500,
    full_from=1200,
    terse_from=5250,
)


@dataclass(frozen=True)
class Stage:
    """Part of a run: how it is trained, and for what."""

    plan: Plan
    objectives: WorldObjectives


MANY = WorldObjectives(rivals=16, masked_texts=4)
STAGES = (
    # Motion first, the dual stream alone; then everything, with a fused pass that is asked mostly
    # about counterparts. It learns order, but not that other families are wrong:
    Stage(Plan(steps=2750, seed=SEED), WorldObjectives(fused_from=1200)),
    # The fused pass meets videos of other families too.
    Stage(
        Plan(steps=3500, warmup_steps=0, seed=SEED),
        replace(MANY, twin_share=0.3, group_share=0.6, contrast_every=4),
    ),
    # Order is learned; most of the time goes to the fused pass and to every other difference.
    Stage(
        Plan(steps=4250, warmup_steps=0, average=0.998, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=8),
    ),
    # That was slow: matching says that something is wrong, checking also says what.
    Stage(
        Plan(steps=6500, until=5250, warmup_steps=0, cooldown_steps=1500, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=8, checking_weight=2.0),
    ),
    # The dual stream had lost some of what it knew of short texts; both learn to the end.
    Stage(
        Plan(steps=7000, warmup_steps=0, cooldown_steps=1500, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=2, checking_weight=2.0),
    ),
    # Once more from a higher rate. The phrases that tell where a rise or fall begins ("up from the
    # bottom") came in here; what was trained before this plan had not met them.
    Stage(
        Plan(steps=8100, warmup_steps=0, learning_rate=1e-3, cooldown_steps=1100, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=2, checking_weight=2.0),
    ),
)
DURATION = "about 85 minutes on two shared cores"
SIMILARITY_WEIGHT = 30.0
"""Beside the match log-odds when candidates are re-ranked: the best of 0, 2, ... 40 on galleries
of seeds 303 and 404; reported are others."""
SAVE_EVERY = 250
SHOW_EVERY = 25


def main() -> None:
    """Train from nothing, or go on with a run that was stopped, and write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("model/bundled"), help="bundle folder")
    parser.add_argument("--work", type=Path, default=Path("build/checkpoint"), help="run state")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=STAGES[-1].plan.steps, help="stop after so many"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training = start(arguments.work)
    train(training, until=arguments.steps, work=arguments.work)
    write_bundle(training, arguments.out)
    report = evaluate_world(load_bundle(arguments.out), num_videos=500, seed=SEED)
    write_bundle(training, arguments.out, report)
    print(json.dumps(report, indent=2))  # noqa: T201 - what the command is for


def train(training: WorldTraining, *, until: int, work: Path) -> None:
    """Train by the stages in turn, and keep the state and a bundle as it goes."""
    started_s = time.monotonic()
    for stage in STAGES:
        enter(training, stage)
        for step in training.run(batches(training.step)):
            if step.number % SHOW_EVERY == 0:
                show(step, time.monotonic() - started_s)
            if step.number % SAVE_EVERY == 0 or step.number >= until:
                training.save(work / "run.safetensors")
                write_bundle(training, work / "bundle")
            if step.number >= until:
                return


def enter(training: WorldTraining, stage: Stage) -> None:
    """Go on by the plan and for the objectives of a stage."""
    training.plan = stage.plan
    training.recipe.objectives = stage.objectives


def show(step: Step, passed_s: float) -> None:
    """Print one line about a step."""
    losses = " ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
    line = f"{passed_s:7.0f} s  step {step.number:6d}  rate {step.learning_rate:.2e}  {losses}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def start(work: Path) -> WorldTraining:
    """Return a fresh run, or the one that was left in a folder."""
    network = build(DIMS)
    prepare(network, seed=SEED)
    namer = Namer(width=DIMS.projection, num_classes=NUM_CLASSES, weights=WEIGHTS)
    checker = Checker(width=DIMS.width, num_facts=len(NUM_CLASSES))
    masker = make_masker(TOKENIZER)
    recipe = WorldRecipe(
        network=network,
        namer=namer,
        checker=checker,
        masker=masker,
        objectives=STAGES[0].objectives,
    )
    training = Training(recipe=recipe, plan=STAGES[0].plan)
    work.mkdir(parents=True, exist_ok=True)
    if (work / "run.safetensors").exists():
        training.load(work / "run.safetensors")
    return training


def batches(first: int) -> Iterator[Batch]:
    """Yield the batches from a step on, rendered in a process of their own."""
    for raw in prefetch(WORLD, first=first):
        yield collate(raw, TOKENIZER, preprocessing=PREPROCESSING)


def make_masker(tokenizer: Tokenizer) -> WordMasker:
    """Return what hides words of the world's vocabulary."""
    words = sorted(tokenizer.get_vocab().items(), key=itemgetter(1))
    return WordMasker(
        mask_id=MASK,
        special_ids=list(range(len(SPECIAL))),
        is_continuation=torch.tensor([word.startswith("##") for word, _ in words]),
        share=STAGES[0].objectives.masked_share,
    )


def write_bundle(
    training: WorldTraining, folder: Path, report: dict[str, object] | None = None
) -> None:
    """Write the running average of the weights as a bundle."""
    network = build(DIMS)
    network.load_state_dict(training.average)
    card = {
        "name": "reelseek-world",
        "data": "procedural videos with captions (model/world): coloured shapes that move",
        "knows": "these shapes, their looks, counts and backgrounds, and what happens to them",
        "does_not_know": "anything else: of real footage its answers mean nothing",
        "command": "python -m model.world.checkpoint",
        "seed": SEED,
        "steps": training.step,
        "duration": DURATION,
        "stages": [asdict(stage) for stage in STAGES],
        "world": asdict(WORLD),
        "license": "Apache-2.0",
        "report": report,
    }
    save_bundle(
        folder,
        network=network,
        dims=DIMS,
        preprocessing=PREPROCESSING,
        tokenizer_json=TOKENIZER.to_str(),
        card=card,
        similarity_weight=SIMILARITY_WEIGHT,
    )


if __name__ == "__main__":
    main()
