"""The process of a tuning run: trains, compares, leaves a candidate.

    python -m workers.tuning.process FOLDER
    python -m workers.tuning.process --estimate FOLDER

It works in a folder that a worker made (`workers.tuning.folder`) and tells what happens on its
standard output (`workers.tuning.events`). SIGTERM ends it after the step in progress, with a
checkpoint. Started again it goes on; when all is done it only says so. With several processes,
started by `torchrun`, the first one speaks.
"""

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path

import structlog
import torch
from safetensors import SafetensorError

from model.bundle_files import BundleError, bundle_digest
from model.device import choose_device
from model.distributed import joined, local_device, started_processes
from model.train import OutOfMemoryError, TrainingError
from model.tuning.choices import TuningError
from model.tuning.estimating import estimate
from model.tuning.run import Places, Run
from model.video.errors import VideoError
from workers.dying import die_with_parent
from workers.priority import take_lowest_priority
from workers.tuning.evaluation import evaluate, finish, is_over, is_trained
from workers.tuning.events import PREPARING, Failed, Notice, StageBegan, Stopped
from workers.tuning.folder import (
    CLIPS,
    RUN,
    TRAINED,
    FolderError,
    PairLine,
    TuningPlan,
    read_pair_lines,
    read_plan,
)
from workers.tuning.pairs import Forgotten, held_out_clips, training_pairs
from workers.tuning.telling import Say, listener_of, take_stdout

AGAIN = 75
"""Exit status (EX_TEMPFAIL): started again it fares better."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
REASONS = {
    FolderError: "bad_folder",
    BundleError: "bad_bundle",
    OutOfMemoryError: "out_of_memory",
    TrainingError: "not_finite",
    VideoError: "undecodable",
}

log = structlog.get_logger(__name__)


def main(arguments: list[str]) -> int:
    """Work in a folder, tell on standard output, and return the exit status."""
    die_with_parent()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # sums in one order, always
    told = take_stdout()
    return attempt(arguments, told if started_processes().is_first else lambda _: None)


def attempt(arguments: list[str], say: Say) -> int:
    """Do what is asked for, or say why it cannot be done; return the exit status.

    Args:
        arguments: of the command.
        say: writes an event.

    Raises:
        Exception: a fault of ours, with its traceback.
    """
    try:
        if arguments[:1] == ["--estimate"]:
            _estimate(Path(arguments[1]), say)
        else:
            _work(Path(arguments[0]), say)
    except Exception as error:
        if isinstance(error, OutOfMemoryError) and started_processes().count > 1:
            log.warning("parts_too_large", rows=error.rows, exc_info=True)
            return AGAIN if error.rows > 1 else _fail(error, say)
        return _fail(error, say)
    return 0


def _work(folder: Path, say: Say) -> None:
    """Do what is left to do of a run."""
    plan, lines = _read(folder)
    device = choose_device(plan.device)
    if not is_over(folder):
        if not is_trained(folder) and not _train(folder, plan, lines, device=device, say=say):
            return
        if not started_processes().is_first:
            return
        evaluate(folder, plan, lines, device=device, say=say)
    if started_processes().is_first:
        finish(folder, say)


def _train(folder: Path, plan: TuningPlan, lines: list[PairLine], *, device: str, say: Say) -> bool:
    """Train from the newest checkpoint on; tell whether the end was reached."""
    say(StageBegan(stage=PREPARING))
    num_negative = sum(line.is_negative for line in lines)
    if num_negative:
        text = (
            f"{num_negative} pairs say what a clip does not show; they are not trained on, because "
            "wrong texts are drawn from those of other clips."
        )
        say(Notice(reason="negatives_not_trained", text=text))
    pairs = training_pairs(lines)
    run = Run(
        source=plan.base,
        pairs=pairs,
        places=Places(out=folder / TRAINED, work=folder / RUN, clips=folder / CLIPS),
        name=plan.name,
        choices=plan.choices,
        device=local_device(device),
        save_every_s=plan.checkpoint_every_s,
        forgotten=Forgotten(folder),
        kept_too=held_out_clips(lines),
    )
    # Some CUDA kernels add in any order if they may; a resumed run would differ in the last bits.
    torch.use_deterministic_algorithms(device != "cpu", warn_only=True)
    with joined(run.device) as processes:
        tuned = run.tune(processes, listener_of(say, len(pairs)), resume="if_any")
    torch.use_deterministic_algorithms(mode=False)
    if tuned.digest is None:
        say(Stopped(step=tuned.steps))
    return tuned.digest is not None


def _estimate(folder: Path, say: Say) -> None:
    plan, lines = _read(folder)
    pairs = training_pairs(lines)
    say(estimate(plan.base, pairs, plan.choices, device=choose_device(plan.device)))


def _read(folder: Path) -> tuple[TuningPlan, list[PairLine]]:
    plan = read_plan(folder)
    if bundle_digest(plan.base) != plan.base_digest:
        raise FolderError(f"{plan.base} is not the bundle that the run was asked to start from")
    lines = [replace(line, path=line.path.absolute()) for line in read_pair_lines(folder)]
    return plan, lines


def _fail(error: Exception, say: Say) -> int:
    """Say why it cannot be done; what we did not expect ends with its traceback.

    Raises:
        Exception: the error, if it is none of those that can be explained.
    """
    reason = _reason(error)
    if reason is None:
        raise error
    log.warning("tuning_failed", reason=reason, exc_info=error)
    say(Failed(reason=reason, detail=f"{error}"))
    return 0


def _reason(error: Exception) -> str | None:
    """Return one word for what a person can do something about; None: it is a fault of ours."""
    if isinstance(error, TuningError):
        return error.reason
    is_full = isinstance(error, OSError) and error.errno in NO_SPACE
    if is_full or (isinstance(error, SafetensorError) and "No space" in str(error)):
        return "disk_full"
    return next((word for kind, word in REASONS.items() if isinstance(error, kind)), None)


if __name__ == "__main__":
    take_lowest_priority()
    sys.exit(main(sys.argv[1:]))
