"""Tune a bundle on one's own videos: load, train, save a new bundle that says where it is from."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from model.bundle_files import CARD
from model.distributed import joined, local_device
from model.pairs import VideoPair
from model.tuning.choices import Choices, TuningError
from model.tuning.listener import Listener, Tuned
from model.tuning.run import Places, Run

__all__ = ["CLIPS", "Listener", "Tuned", "TuningError", "tune"]

CLIPS = "clips"
SAVE_EVERY_S = 600.0


def tune(
    source: Path,
    pairs: Sequence[VideoPair],
    out: Path,
    *,
    choices: Choices | None = None,
    device: str = "cpu",
    resume: bool = False,
    listener: Listener | None = None,
) -> Tuned:
    """Train the network of a bundle on pairs and save a new bundle.

    Beside the new folder, `OUT.run` holds decoded clips and checkpoints: before the first step,
    every ten minutes and when training is asked to stop (SIGTERM, Ctrl-C). It is removed at the
    end. Started by `torchrun`, processes share each batch; the first one writes.

    Args:
        source: bundle to start from; it is left as it is.
        pairs: clips and captions; those that cannot be decoded are reported and left out.
        out: folder of the new bundle.
        choices: what a person chose.
        device: `cpu` or `cuda`.
        resume: go on with a run that was stopped; it must have been started alike.
        listener: who is told how it goes.

    Raises:
        BundleError: the source is damaged, or of a family that is not trained here.
        TuningError: the folder is taken, there is nothing to resume, or too few pairs.
        TrainingError: gradients are not finite, or memory holds not a single clip.
    """
    if (out / CARD).exists():
        raise TuningError(f"{out} holds a bundle already; choose another folder")
    work = out.with_name(f"{out.name}.run")
    run = Run(
        source=source,
        pairs=tuple(pairs),
        places=Places(out=out, work=work, clips=work / CLIPS),
        name=out.name,
        choices=choices or Choices(),
        device=local_device(device),
        save_every_s=SAVE_EVERY_S,
    )
    with joined(run.device) as processes:
        tuned = run.tune(processes, listener or Listener(), resume="yes" if resume else "no")
        if tuned.digest is not None and processes.is_first:
            shutil.rmtree(work)
    return tuned
