"""How far match probabilities hold on videos that they were not fitted on.

    python bench/calibration.py

Fits them on made-up videos of one seed and prints, for those of other seeds, the expected
calibration error of all re-ranked candidates before and after, how many best hits are right and
how many the probabilities say, and what the threshold of a confident match hides.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from model.bundle import load_bundle
from model.calibration import Judged, calibrate, calibration_error, sigmoids
from model.evaluate import world_gallery
from model.gate.search import ask
from model.measure import no_progress
from model.retrieval import Calibration, RetrievalModel

BUNDLED = Path(__file__).parents[1] / "model" / "bundled"


def main() -> None:
    """Fit on the first seed, judge on the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=BUNDLED)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--fit-seed", type=int, default=101)
    parser.add_argument("--seeds", type=int, nargs="+", default=[102, 103])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_bundle(arguments.bundle)
    fitted = calibrate(judged(model, arguments.videos, arguments.fit_seed))
    found = fitted.calibration
    sys.stdout.write(
        f"fitted on {arguments.videos} videos of seed {arguments.fit_seed}: slope "
        f"{found.slope:.3f}, bias {found.bias:.2f}, threshold {found.confident_probability:.3f}\n\n"
        "| seed | error before | after | best hits right | said before | said after "
        "| right hidden | wrong hidden | no answer hidden |\n" + "|---" * 9 + "|\n"
    )
    for seed in arguments.seeds:
        sys.stdout.write(row(judged(model, arguments.videos, seed), found, seed))
        sys.stdout.flush()


def judged(model: RetrievalModel, num_videos: int, seed: int) -> Judged:
    """Search made-up videos for their texts, and without the right video and its family."""
    made = world_gallery(model, num_videos, seed)
    owners, groups = made.owners, made.groups
    found = ask(
        model,
        made.clips,
        texts=made.texts,
        is_right=owners[:, None] == np.arange(len(made.clips)),
        is_own=groups[owners][:, None] == groups,
        groups=groups[owners],
        progress=no_progress,
        is_judged=True,
    )
    return found.judged


def row(found: Judged, calibration: Calibration, seed: int) -> str:
    """Return a line of the table."""
    right = found.is_right
    before = sigmoids(found.log_odds)
    after = sigmoids(calibration.slope * found.scores + calibration.bias)
    errors = [calibration_error(chances.ravel(), right.ravel()) for chances in (before, after)]
    means = [100 * float(table[:, 0].mean()) for table in (right, before, after)]
    best, least = after[:, 0], calibration.confident_probability
    without = sigmoids(calibration.slope * found.unanswerable + calibration.bias)
    hidden = [
        100 * float((part < least).mean())
        for part in (best[right[:, 0]], best[~right[:, 0]], without)
    ]
    cells = [
        *(f"{error:.3f}" for error in errors),
        *(f"{share:.1f} %" for share in means),
        *(f"{share:.0f} %" for share in hidden),
    ]
    return f"| {seed} | {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
