"""The second half of a tuning run: is the trained bundle better? Then it becomes the candidate.

Killed at any moment and begun again, it comes to the same end.
"""

import json
import shutil
from pathlib import Path

from model.bundle_files import BundleError, bundle_digest, check_digests
from model.calibration import write_calibration
from model.checkpoints import sync_folder, sync_tree, write_durably
from model.gate.comparing import Comparison, compare_bundles
from model.gate.gallery import GalleryError, LiveGallery, read_gallery
from model.memory import is_out_of_memory
from workers.tuning.events import EVALUATING, Done, Notice, StageBegan, StageProgress
from workers.tuning.folder import (
    BUNDLE,
    CLIPS,
    GALLERY,
    REPORT,
    RUN,
    TRAINED,
    PairLine,
    TuningPlan,
)
from workers.tuning.pairs import Forgotten, held_out_pairs
from workers.tuning.telling import Say

PARTIAL = "bundle.partial"


def is_trained(folder: Path) -> bool:
    """Tell whether training is over; what a power cut left of its result is removed."""
    try:
        check_digests(folder / TRAINED)
    except BundleError:
        shutil.rmtree(folder / TRAINED, ignore_errors=True)
        return False
    return True


def is_over(folder: Path) -> bool:
    """Tell whether the candidate is there."""
    return (folder / BUNDLE).exists()


def evaluate(
    folder: Path, plan: TuningPlan, lines: list[PairLine], *, device: str, say: Say
) -> None:
    """Compare the trained bundle with the base, calibrate it, and leave it as the candidate.

    Raises:
        BundleError: one of the two is damaged.
        ValueError: a model gave NaN or infinity.
        OSError: the disk is full.
    """
    say(StageBegan(stage=EVALUATING))
    found = _compare(folder, plan, lines, device=device, say=say)
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder / TRAINED, partial)
    if found.calibration is not None:
        write_calibration(partial, found.calibration)
    sync_tree(partial)
    write_durably(folder / REPORT, json.dumps(found.report))
    partial.rename(folder / BUNDLE)
    sync_folder(folder)


def finish(folder: Path, say: Say) -> None:
    """Remove what is needed no more and say that all is done."""
    for name in (TRAINED, RUN, CLIPS):
        shutil.rmtree(folder / name, ignore_errors=True)
    say(Done(digest=bundle_digest(folder / BUNDLE), report=folder / REPORT))


def _compare(
    folder: Path, plan: TuningPlan, lines: list[PairLine], *, device: str, say: Say
) -> Comparison:
    gallery = _gallery(folder, say)
    pairs = held_out_pairs(lines, Forgotten(folder)())

    def compare_on(where: str) -> Comparison:
        return compare_bundles(
            plan.base,
            folder / TRAINED,
            pairs,
            clips=folder / CLIPS,
            device=where,
            gallery=gallery,
            seed=plan.choices.seed,
            progress=lambda _, done, of: say(StageProgress(stage=EVALUATING, done=done, of=of)),
        )

    try:
        return compare_on(device)
    except RuntimeError as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    text = "The GPU's memory did not suffice to compare the models: they are compared on the CPU."
    say(Notice(reason="compared_on_cpu", text=text))
    return compare_on("cpu")


def _gallery(folder: Path, say: Say) -> LiveGallery | None:
    if not (folder / GALLERY).exists():
        return None
    try:
        return read_gallery(folder / GALLERY)
    except GalleryError as error:
        text = f"The models are compared on held-out clips only: {error}."
        say(Notice(reason="gallery_unusable", text=text))
        return None
