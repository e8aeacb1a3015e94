"""The recipe of the bundled checkpoint: `python -m model.world.checkpoint --out FOLDER`."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path

import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from model.all_in_one.dims import Dims
from model.all_in_one.network import build
from model.bundle import load_bundle, save_bundle
from model.data import Batch, collate, prefetch
from model.evaluate import evaluate_world
from model.masking import WordMasker
from model.objectives.checking import Checker
from model.objectives.naming import Namer
from model.recipes.world import WorldRecipe
from model.train import Step, Training
from model.world.finer import take_over
from model.world.labels import NUM_CLASSES
from model.world.preparation import prepare
from model.world.stages import (
    COARSE,
    DIMS,
    DURATION,
    PREPROCESSING,
    SEED,
    SIMILARITY_WEIGHT,
    STAGES,
    TOKENIZER,
    WORLD,
    Stage,
)
from model.world.stills import StillRecipe
from model.world.vocabulary import MASK, SPECIAL

__all__ = ["COARSE", "DIMS", "PREPROCESSING", "TOKENIZER", "make_masker"]

WorldTraining = Training[StillRecipe]

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
    training = train(until=arguments.steps, work=arguments.work)
    write_bundle(training, arguments.out)
    report = evaluate_world(load_bundle(arguments.out), num_videos=1000, seed=SEED)
    write_bundle(training, arguments.out, report)
    print(json.dumps(report, indent=2))  # noqa: T201 - what the command is for


def train(*, until: int, work: Path) -> WorldTraining:
    """Train stage by stage, from nothing or on, and keep the state and a bundle as it goes."""
    started_s = time.monotonic()
    training = resume(work)
    for stage in STAGES:
        if training.step >= min(stage.plan.end, until):
            continue
        training = enter(stage, training)
        for step in training.run(batches(stage, training.step)):
            if step.number % SHOW_EVERY == 0:
                show(step, time.monotonic() - started_s)
            is_last = step.number >= min(stage.plan.end, until)
            if step.number % SAVE_EVERY == 0 or is_last:
                training.save(work / "run.safetensors")
                write_bundle(training, work / "bundle")
            if step.number >= until:
                break
    return training


def resume(work: Path) -> WorldTraining:
    """Return a fresh run, or the one that was left in a folder."""
    work.mkdir(parents=True, exist_ok=True)
    state = work / "run.safetensors"
    if not state.exists():
        return begin(STAGES[0])
    with safe_open(state, "pt") as file:
        done = int(file.get_tensor("step"))
    training = begin(next(stage for stage in STAGES if done <= stage.plan.end))
    training.load(state)
    return training


def begin(stage: Stage) -> WorldTraining:
    """Return a run at a stage, with fresh weights."""
    network = build(stage.dims)
    prepare(network, seed=SEED)
    clips = WorldRecipe(
        network=network,
        namer=Namer(width=stage.dims.projection, num_classes=NUM_CLASSES, weights=stage.weights),
        checker=Checker(width=stage.dims.width, num_facts=len(NUM_CLASSES)),
        masker=make_masker(TOKENIZER),
        objectives=stage.objectives,
    )
    return Training(recipe=StillRecipe(clips), plan=stage.plan)


def enter(stage: Stage, training: WorldTraining) -> WorldTraining:
    """Return the run as a stage goes on with it: the same, or one with finer patches."""
    if stage.dims == dims_of(training):
        clips = training.recipe.clips
        clips.objectives, clips.namer.weights = stage.objectives, list(stage.weights)
        training.plan = stage.plan
        return training
    finer = begin(stage)
    take_over(finer.recipe.clips.network, training.average)
    finer.average = {name: value.clone() for name, value in finer.network.state_dict().items()}
    finer.step = training.step
    return finer


def dims_of(training: WorldTraining) -> Dims:
    """Return the sizes of the network in training."""
    filters = training.recipe.clips.network.transformer.patch_embed.proj.weight
    return next(dims for dims in (COARSE, DIMS) if dims.patch == filters.shape[-1])


def show(step: Step, passed_s: float) -> None:
    """Print one line about a step."""
    losses = " ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
    line = f"{passed_s:7.0f} s  step {step.number:6d}  rate {step.learning_rate:.2e}  {losses}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def batches(stage: Stage, first: int) -> Iterator[Batch]:
    """Yield the batches from a step on, rendered in a process of their own."""
    for raw in prefetch(stage.batches, first=first):
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
    dims = dims_of(training)
    network = build(dims)
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
        dims=dims,
        preprocessing=PREPROCESSING,
        tokenizer_json=TOKENIZER.to_str(),
        card=card,
        similarity_weight=SIMILARITY_WEIGHT,
    )


if __name__ == "__main__":
    main()
