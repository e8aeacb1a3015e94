"""Match probabilities that hold, fitted on held-out pairs: of hits with 70 %, 70 % are right.

Shapes: N texts, K candidates of each, C = N K candidates in all.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle_checks import CALIBRATION
from model.resealing import change_config
from model.retrieval import Calibration

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_TEXTS = 20
BINS = 10
MOST_STEPS = 100
SMALLEST_STEP = 1e-10
RIDGE = 1e-12
"""Keeps Newton's equations solvable where all scores are alike."""
DIGITS = 6
"""More would be noise, and part of the bundle's digest."""
JUST_BELOW = 1 - 1e-5
HIDDEN_SHARE = 0.05
"""Of right best hits at most this share may fall under the threshold."""
HIGHEST_THRESHOLD = 0.5


@dataclass(frozen=True)
class Judged:
    """The re-ranked candidates of held-out texts, best first.

    Attributes:
        scores: `RetrievalSpec.rerank_score` of each, descending, (N, K).
        log_odds: of the fused pass, (N, K).
        is_right: whether it is the moment that was meant, (N, K).
        unanswerable: score of each text's best hit where its own video is left out, (N,); NaN
            where nothing else is in the gallery.
        groups: texts of one group belong together, (N,).
    """

    scores: Floats
    log_odds: Floats
    is_right: Flags
    unanswerable: Floats
    groups: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A calibration, and how well it holds.

    Attributes:
        calibration: what goes into the bundle.
        error_before: expected calibration error of the fused pass's own probabilities.
        error_after: the same of the calibrated ones, each judged by a fit on other videos; None
            if the videos do not share out into two halves that can be fitted.
        num_candidates: scores C that it was fitted on.
        hidden: how many of which best hits fall under the threshold.
    """

    calibration: Calibration
    error_before: float
    error_after: float | None
    num_candidates: int
    hidden: dict[str, dict[str, int]]

    def to_json(self) -> dict[str, Any]:
        """Return it as the report has it."""
        after = self.error_after
        return {
            "slope": self.calibration.slope,
            "bias": self.calibration.bias,
            "error_before": round(self.error_before, 4),
            "error_after": None if after is None else round(after, 4),
            "pairs": self.num_candidates,
            "threshold": self.calibration.confident_probability,
            "hidden": self.hidden,
        }


class CalibrationError(ValueError):
    """Nothing can be fitted; the message says why."""


def calibrate(judged: Judged, *, seed: int = 0) -> Fitted:
    """Fit probabilities and choose the threshold under which a search says that nothing matches.

    Args:
        judged: candidates of held-out texts.
        seed: shares the videos out into the two halves that judge each other.

    Raises:
        CalibrationError: too few texts, or all candidates are right, or all wrong.
    """
    if len(judged.scores) < FEWEST_TEXTS:
        raise CalibrationError(
            f"{len(judged.scores)} held-out texts are too few to fit match probabilities; "
            f"{FEWEST_TEXTS} are needed"
        )
    scores, is_right = judged.scores.ravel(), judged.is_right.ravel()
    if is_right.all() or not is_right.any():
        kind = "right" if is_right.all() else "wrong"
        raise CalibrationError(f"every candidate is {kind}: match probabilities cannot be fitted")
    slope, bias = (float(f"{value:.{DIGITS}g}") for value in fit(scores, is_right))
    threshold, hidden = choose_threshold(judged, slope, bias)
    return Fitted(
        calibration=Calibration(slope=slope, bias=bias, confident_probability=threshold),
        error_before=calibration_error(sigmoids(judged.log_odds.ravel()), is_right),
        error_after=_cross_fitted_error(judged, seed),
        num_candidates=len(scores),
        hidden=hidden,
    )


def fit(scores: Floats, is_right: Flags) -> tuple[float, float]:
    """Fit P(right) = sigmoid(slope score + bias), slope >= 0, by maximum likelihood.

    Targets are smoothed, (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so that separable scores do not
    give certainty (Platt, 1999). Newton's method with halved steps (Lin, Lin and Weng, 2007); the
    likelihood is concave, so if its best slope is negative, the best allowed one is 0.

    Args:
        scores: (C,).
        is_right: (C,).

    Returns:
        slope and bias.
    """
    num_right = int(is_right.sum())
    num_wrong = len(is_right) - num_right
    targets = np.where(is_right, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    slope, bias = _newton((scores - centre) / scale, targets)
    if slope <= 0:
        mean = float(targets.mean())
        return 0.0, float(np.log(mean / (1 - mean)))
    return slope / scale, bias - slope * centre / scale


def _newton(scores: Floats, targets: Floats) -> tuple[float, float]:
    """Return the slope and bias of the highest likelihood, whatever the sign."""
    inputs = np.stack((scores, np.ones_like(scores)), axis=1)  # (C, 2)
    mean = targets.mean()
    found = np.array([0.0, np.log(mean / (1 - mean))])
    for _ in range(MOST_STEPS):
        chances = sigmoids(inputs @ found)
        gradient = inputs.T @ (chances - targets)
        curvature = inputs.T @ (inputs * (chances * (1 - chances))[:, None])
        step = np.linalg.solve(curvature + RIDGE * np.eye(2), gradient)
        length, here = 1.0, _loss(inputs @ found, targets)
        while length > SMALLEST_STEP and _loss(inputs @ (found - length * step), targets) > here:
            length /= 2
        found = found - length * step
        if np.abs(length * step).max() < SMALLEST_STEP:
            break
    return float(found[0]), float(found[1])


def _loss(log_odds: Floats, targets: Floats) -> float:
    """Return the cross-entropy of probabilities with smoothed targets."""
    return float((np.logaddexp(0, log_odds) - targets * log_odds).sum())


def sigmoids(log_odds: Floats) -> Floats:
    """Return the probabilities that log-odds stand for, any shape."""
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(log_odds, np.float64)))
    return found


def calibration_error(chances: Floats, is_right: Flags, *, bins: int = BINS) -> float:
    """Return the expected calibration error: how far probabilities are from shares, on average.

    Bins hold equally many candidates (Nguyen and O'Connor, 2015), because most probabilities lie
    close to 0. Of few candidates it is above 0 even if the probabilities are perfect.

    Args:
        chances: probabilities, (C,).
        is_right: (C,).
        bins: how many.
    """
    _, places, counts = np.unique(chances, return_inverse=True, return_counts=True)
    shares = (np.bincount(places, is_right) / counts)[places]  # equals share what they got right
    parts = np.array_split(np.argsort(chances), min(bins, len(chances)))
    gaps = [len(part) * abs(chances[part].mean() - shares[part].mean()) for part in parts]
    return float(sum(gaps)) / len(chances)


def choose_threshold(
    judged: Judged, slope: float, bias: float
) -> tuple[float, dict[str, dict[str, int]]]:
    """Choose the probability that the best hit must reach for a search to be confident.

    The highest that hides at most 5 % of the best hits that are right, and never above a half.

    Returns:
        it, 0 if no best hit is right; and for `right`, `wrong` and `unanswerable` best hits how
        many there are and how many of them it hides.
    """
    best = sigmoids(slope * judged.scores[:, 0] + bias)
    right = np.sort(best[judged.is_right[:, 0]])
    kinds = {
        "right": right,
        "wrong": best[~judged.is_right[:, 0]],
        "unanswerable": sigmoids(
            slope * judged.unanswerable[np.isfinite(judged.unanswerable)] + bias
        ),
    }
    threshold = 0.0
    if len(right):
        least = JUST_BELOW * float(right[int(HIDDEN_SHARE * len(right))])
        threshold = min(HIGHEST_THRESHOLD, float(f"{least:.{DIGITS}g}"))
    hidden = {
        name: {"count": len(found), "hidden": int((found < threshold).sum())}
        for name, found in kinds.items()
    }
    return threshold, hidden


def _cross_fitted_error(judged: Judged, seed: int) -> float | None:
    """Fit on half of the videos, judge on the other, and the other way round."""
    groups = np.unique(judged.groups)
    drawn = np.random.default_rng(seed).permutation(groups)
    is_first = np.isin(judged.groups, drawn[: len(drawn) // 2])
    chances = np.empty_like(judged.scores)
    for part in (is_first, ~is_first):
        is_right = judged.is_right[part].ravel()
        if not is_right.any() or is_right.all():
            return None
        slope, bias = fit(judged.scores[part].ravel(), is_right)
        chances[~part] = sigmoids(slope * judged.scores[~part] + bias)
    return calibration_error(chances.ravel(), judged.is_right.ravel())


def write_calibration(folder: Path, calibration: Calibration) -> str:
    """Write a calibration into a bundle and return its new digest.

    Killed at any moment, it leaves a bundle that `model.resealing.finish_change` makes whole.

    Raises:
        BundleError: the bundle is damaged.
    """
    return change_config(folder, {CALIBRATION: asdict(calibration)})


def best_first(scores: Floats, *others: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """Sort candidates of each text by their scores, descending, and others alike, each (N, K)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return [np.take_along_axis(table, order, axis=1) for table in (scores, *others)]
