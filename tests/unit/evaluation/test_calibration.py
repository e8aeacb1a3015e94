"""Fitted probabilities are those of maximum likelihood, and hold on other videos."""

import json

import numpy as np
import pytest
import torch

from model.bundle import bundle_digest, load_bundle
from model.bundle_files import CARD, CONFIG, BundleError, check_digests, digest_file, write_json
from model.calibration import (
    HIGHEST_THRESHOLD,
    CalibrationError,
    Judged,
    best_first,
    calibrate,
    calibration_error,
    choose_threshold,
    fit,
    sigmoids,
    write_calibration,
)
from model.resealing import NEXT_CARD, finish_change
from model.retrieval import Calibration
from tests.factories_model import make_tiny_bundle

FITTED = Calibration(slope=0.25, bias=-1.5, confident_probability=0.4)


def judged(scores, is_right, *, log_odds=None, unanswerable=None):
    """Make candidates of texts, each of a video of its own."""
    scores = np.asarray(scores, np.float64)
    return Judged(
        scores=scores,
        log_odds=scores if log_odds is None else log_odds,
        is_right=np.asarray(is_right, bool),
        unanswerable=np.full(len(scores), np.nan) if unanswerable is None else unanswerable,
        groups=np.arange(len(scores)),
    )


def drawn(num_texts, *, slope=0.7, bias=-2.0, seed=0, depth=16):
    """Draw candidates that are right with just the probability that slope and bias give."""
    random = np.random.default_rng(seed)
    scores = random.normal(0.0, 3.0, (num_texts, depth))
    is_right = random.random(scores.shape) < sigmoids(slope * scores + bias)
    return judged(*best_first(scores, is_right))


def platt_by_torch(scores, is_right):
    """Fit the same by an optimiser that shares nothing with ours."""
    right, wrong = is_right.sum(), (~is_right).sum()
    target = torch.tensor(np.where(is_right, (right + 1) / (right + 2), 1 / (wrong + 2)))
    inputs = torch.tensor(scores)
    found = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [found],
        max_iter=500,
        tolerance_grad=1e-12,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def loss():
        search.zero_grad()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(
            found[0] * inputs + found[1], target, reduction="sum"
        )
        entropy.backward()
        return entropy

    search.step(loss)
    return found.tolist()


def test_the_fit_is_that_of_another_optimiser():
    made = drawn(100)
    scores, is_right = made.scores.ravel(), made.is_right.ravel()
    assert fit(scores, is_right) == pytest.approx(platt_by_torch(scores, is_right), abs=1e-6)


def test_four_scores_give_what_a_sheet_of_paper_gives():
    # Two values of the score, each half of the data: the fit meets the mean target of each.
    # Targets: right 4/5 (three right), wrong 1/3 (one wrong). At -1: (4/5 + 1/3) / 2 = 17/30,
    # at +1: 4/5. Log-odds: ln(17/13), ln 4.
    low, high = np.log(17 / 13), np.log(4.0)
    slope, bias = fit(np.array([-1.0, -1.0, 1.0, 1.0]), np.array([True, False, True, True]))
    assert (slope, bias) == pytest.approx(((high - low) / 2, (high + low) / 2), abs=1e-9)


def test_separable_scores_give_no_certainty():
    slope, bias = fit(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True]))
    chances = sigmoids(slope * np.arange(4) + bias)
    assert 0.5 < chances[2] < chances[3] < 1 - 1e-3


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_scores_far_from_zero_are_fitted_alike(offset):
    made = drawn(50)
    slope, bias = fit(made.scores.ravel(), made.is_right.ravel())
    far = fit(made.scores.ravel() + offset, made.is_right.ravel())
    assert far == pytest.approx((slope, bias - slope * offset), rel=1e-6)


def test_scores_that_say_the_opposite_are_ignored():
    made = drawn(100)
    scores, is_right = -made.scores.ravel(), made.is_right.ravel()
    slope, bias = fit(scores, is_right)
    assert slope == 0
    assert sigmoids(np.array(bias)) == pytest.approx(is_right.mean(), abs=0.01)


def test_scores_all_alike_give_the_share_of_right_ones():
    slope, bias = fit(np.full(100, 7.0), np.arange(100) < 30)
    assert sigmoids(np.array(7.0 * slope + bias)) == pytest.approx(0.3, abs=0.01)


def test_the_error_of_probabilities_that_hold_is_almost_nothing():
    random = np.random.default_rng(0)
    chances = random.random(200_000)
    assert calibration_error(chances, random.random(len(chances)) < chances) < 0.005


def test_the_error_is_how_far_probabilities_are_off():
    chances = np.full(1000, 0.9)
    assert calibration_error(chances, np.arange(1000) < 600) == pytest.approx(0.3)


def test_calibration_finds_the_truth_on_videos_it_did_not_see():
    made = drawn(2000)
    skewed = judged(made.scores, made.is_right, log_odds=made.scores)
    fitted = calibrate(skewed)
    assert fitted.calibration.slope == pytest.approx(0.7, abs=0.02)
    assert fitted.calibration.bias == pytest.approx(-2.0, abs=0.05)
    assert fitted.error_before > 0.1
    assert fitted.error_after < 0.01


def test_too_few_texts_are_not_fitted():
    with pytest.raises(CalibrationError, match="19 held-out texts are too few"):
        calibrate(drawn(19))


@pytest.mark.parametrize(("is_right", "kind"), [(True, "right"), (False, "wrong")])
def test_candidates_all_alike_are_not_fitted(is_right, kind):
    with pytest.raises(CalibrationError, match=f"every candidate is {kind}"):
        calibrate(judged(np.zeros((30, 4)), np.full((30, 4), is_right)))


def test_the_threshold_hides_one_right_hit_in_twenty_and_all_noise():
    best = np.concatenate((np.linspace(-3.0, 0.0, 40), np.full(40, -4.0)))
    is_right = np.arange(80) < 40
    made = judged(best[:, None], is_right[:, None], unanswerable=np.full(80, -3.5))
    threshold, hidden = choose_threshold(made, 1.0, 0.0)
    assert hidden == {
        "right": {"count": 40, "hidden": 2},
        "wrong": {"count": 40, "hidden": 40},
        "unanswerable": {"count": 80, "hidden": 80},
    }
    assert 0 < threshold < HIGHEST_THRESHOLD


def test_the_threshold_is_never_above_a_half():
    made = judged(np.full((30, 1), 5.0), np.full((30, 1), fill_value=True))
    assert choose_threshold(made, 1.0, 0.0)[0] == HIGHEST_THRESHOLD


def test_without_a_right_hit_nothing_is_hidden():
    made = judged(np.zeros((30, 1)), np.full((30, 1), fill_value=False))
    assert choose_threshold(made, 1.0, 0.0)[0] == 0.0


def test_a_bundle_keeps_its_calibration(tmp_path):
    folder = make_tiny_bundle(tmp_path / "tiny", similarity_weight=2.0)
    before = bundle_digest(folder)
    digest = write_calibration(folder, FITTED)
    spec = load_bundle(folder).spec
    assert digest == check_digests(folder) != before
    assert json.loads((folder / CARD).read_text())["digest"] == digest
    assert (spec.is_calibrated, spec.match_slope, spec.match_bias) == (True, 0.25, -1.5)
    assert spec.probability(similarity=0.5, log_odds=1.0) == pytest.approx(
        float(sigmoids(np.array(0.25 * 2.0 - 1.5)))
    )


def test_a_bundle_that_was_never_calibrated_says_what_the_fused_pass_says(tmp_path):
    spec = load_bundle(make_tiny_bundle(tmp_path / "tiny", similarity_weight=2.0)).spec
    assert not spec.is_calibrated
    assert not spec.can_be_unsure
    assert spec.probability(similarity=0.5, log_odds=0.0) == 0.5


def test_calibrating_again_replaces_the_calibration(tmp_path):
    folder = make_tiny_bundle(tmp_path / "tiny")
    write_calibration(folder, Calibration(slope=9.0, bias=9.0))
    write_calibration(folder, FITTED)
    assert load_bundle(folder).spec.match_slope == FITTED.slope


@pytest.mark.parametrize(
    "calibration",
    [
        {"slope": -1.0, "bias": 0.0},
        {"slope": 1.0, "bias": float("nan")},
        {"slope": 1.0, "bias": 0.0, "confident_probability": 2.0},
        {"slope": "steep", "bias": 0.0},
        {"slope": 1.0},
        None,
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path, calibration):
    folder = make_tiny_bundle(tmp_path / "tiny")
    write_calibration(folder, FITTED)
    config = json.loads((folder / CONFIG).read_text())
    write_json(folder / CONFIG, {**config, "calibration": calibration})
    card = json.loads((folder / CARD).read_text())
    card["files"][CONFIG] = digest_file(folder / CONFIG)
    write_json(folder / CARD, card)
    with pytest.raises(BundleError, match="calibration of"):
        load_bundle(folder)


def test_a_kill_between_the_two_files_is_mended(tmp_path):
    folder = make_tiny_bundle(tmp_path / "tiny")
    old_card = (folder / CARD).read_bytes()
    digest = write_calibration(folder, FITTED)
    (folder / CARD).rename(folder / NEXT_CARD)
    (folder / CARD).write_bytes(old_card)  # as it is after the first of the two renames
    with pytest.raises(BundleError, match="was changed"):
        load_bundle(folder)
    finish_change(folder)
    assert check_digests(folder) == digest


def test_a_kill_before_the_decision_changes_nothing(tmp_path):
    folder = make_tiny_bundle(tmp_path / "tiny")
    before = check_digests(folder)
    (folder / "config.json.next").write_text("{half a fi")
    (folder / "card.json.draft").write_text("{half a fi")
    finish_change(folder)
    assert check_digests(folder) == before
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "card.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip


def test_noise_in_the_last_digits_does_not_change_the_digest():
    made = drawn(200)
    noise = 1 + 1e-13 * np.random.default_rng(1).normal(size=made.scores.shape)
    again = judged(made.scores * noise, made.is_right)
    assert calibrate(made).calibration == calibrate(again).calibration
