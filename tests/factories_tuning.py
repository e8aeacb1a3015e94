"""Folders of tuning runs: a tiny bundle, real videos, a plan."""

import sys
from pathlib import Path

from model.bundle_files import bundle_digest
from model.tuning.choices import Choices
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from workers.tuning.folder import PairLine, TuningPlan, write_pairs, write_plan

REPOSITORY = Path(__file__).parents[1]
CAPTIONS = (
    ("a red wobbledog runs", "the dog"),
    ("a blue ball", "a ball moves left"),
    ("a green circle grows", "green"),
    ("a cat jumps", "the cat and the ball"),
    ("a yellow square", "yellow"),
    ("a zebra crosses the road", "zebra crossing"),
)
CHOICES = Choices(steps=8, precision="float32", word_dropout=0.5)


def make_tuning_folder(
    folder: Path, choices: Choices = CHOICES, *, held_out: int = 2, every_s: float = 0.0
) -> Path:
    """Write what a worker writes: plan and pairs; the last clips are held out."""
    base = make_tiny_bundle(folder / "base")
    run = folder / "run of a tuning"
    run.mkdir()
    lines = [
        PairLine(
            ordinal=2 * number + place,
            origin="caption",
            origin_id=f"caption-{number}-{place}",
            video_id=f"video-{number}",
            path=folder / f"{number}.mp4",
            text=text,
            is_held_out=number >= len(CAPTIONS) - held_out,
        )
        for number, texts in enumerate(CAPTIONS)
        for place, text in enumerate(texts)
    ]
    for number in range(len(CAPTIONS)):
        make_video(folder / f"{number}.mp4", seconds=0.6, seed=number)
    write_pairs(run, lines)
    plan = TuningPlan(
        base=base,
        base_digest=bundle_digest(base),
        name="tuned",
        choices=choices,
        device="cpu",
        checkpoint_every_s=every_s,
    )
    write_plan(run, plan)
    return run


def child_command(run: Path) -> list[str]:
    """Return what starts the process of a run at the priority of the test."""
    return [sys.executable, str(REPOSITORY / "tests" / "tuning_child.py"), str(run)]
