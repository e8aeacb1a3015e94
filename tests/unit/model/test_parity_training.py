"""Our losses and their gradients are the published ones, to rounding. See tests/parity.py."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from model.objectives.contrastive import contrastive_loss
from model.objectives.masked_language import IGNORED, masked_language_loss
from model.objectives.matching import matching_loss
from model.objectives.ranking import ranking_loss
from model.objectives.word_patch_alignment import alignment_loss
from tests import parity

CASES = "parity_case"
LOSS_TOLERANCE = 1e-5
LOGITS_TOLERANCE = 1e-4
NORM_TOLERANCE = 1e-3
FIRST_TOLERANCE = 1e-4
NEGATIVE_LENGTHS = [8, 20, 33]
NUM_NEGATIVES = 2
DEIT_SIZES = ("tiny", "small")


def pytest_generate_tests(metafunc):
    if CASES in metafunc.fixturenames:
        cases = parity.find_cases(metafunc.config.getoption("parity_fixtures"))
        metafunc.parametrize(CASES, [case for case in cases if case.under("loss")], ids=str)


@pytest.mark.timeout(3600)
def test_losses_and_gradients(parity_case):
    network = parity_case.network().requires_grad_()
    network.zero_grad()
    losses = Counter()
    for terms in _objectives(network, parity_case):  # one graph at a time: each needs gigabytes
        sum(terms.values()).backward()
        losses.update({name: term.item() for name, term in terms.items()})
    wanted = parity_case.under("loss")
    for name, loss in {**losses, "total": losses.total()}.items():
        assert abs(loss - wanted[name][0]) <= LOSS_TOLERANCE, name
    _assert_gradients(network, parity_case.under("grad"))
    network.zero_grad(set_to_none=True)


def test_matching_logits_of_true_and_false_pairs(parity_case):
    with torch.inference_mode():
        network = parity_case.network()
        fused = network.fused(*parity_case.texts(), _matched_and_unmatched(parity_case))
        logits = network.match_logits(fused).numpy()
    wanted = parity_case.under("loss")
    assert np.abs(logits - wanted["vtm_logits"]).max() <= LOGITS_TOLERANCE
    assert (_labels(parity_case).numpy() == wanted["vtm_labels"]).all()


def _objectives(network, case):
    """Yield the terms of every loss, by the name of the loss that they add to."""
    yield _masked_language(network, case)
    yield _matching_and_alignment(network, case)
    yield _contrastive(network, case)
    yield from _ranking(network, case)


def _masked_language(network, case):
    ids, mask = case.texts()
    slots = torch.arange(ids.shape[1])
    inner = (slots >= 1) & (slots <= torch.tensor(case.lengths)[:, None] - 2)
    hidden = inner & (slots % 3 == 1)
    fused = network.fused(ids.masked_fill(hidden, parity.MASK), mask, case.clips())
    labels = ids.masked_fill(~hidden, IGNORED)
    return {"mlm_loss": masked_language_loss(network.mlm_logits(fused.text), labels)}


def _labels(case):
    num_pairs = len(case.lengths)
    return (torch.arange(num_pairs) < num_pairs // 2).long()


def _matched_and_unmatched(case):
    is_true = _labels(case).bool()[:, None, None, None, None]
    return torch.where(is_true, case.clips(), case.clips("false_frames"))


def _matching_and_alignment(network, case):
    ids, mask = case.texts()
    fused = network.fused(ids, mask, _matched_and_unmatched(case))
    is_word = mask & (ids != parity.CLS) & (ids != parity.SEP)
    is_patch = torch.ones(fused.image.shape[:2], dtype=torch.bool)
    is_patch[:, : 2 if case.meta["size"] in DEIT_SIZES else 1] = False
    labels = _labels(case)
    return {
        "itm_loss": matching_loss(network.match_logits(fused), labels),
        "itm_wpa_loss": alignment_loss(
            fused.text, fused.image, is_word=is_word, is_patch=is_patch, labels=labels
        ),
    }


def _contrastive(network, case):
    texts = network.embed_text(*case.texts())
    return {"ind_itc_loss": contrastive_loss(texts, network.embed_video(case.clips()))}


def _ranking(network, case):
    """Yield the loss clip by clip."""
    true = case.texts()
    false = [case.texts(f"{case.name}.false{j}", NEGATIVE_LENGTHS) for j in range(NUM_NEGATIVES)]
    clips = case.clips()
    for row in range(len(clips)):
        ids, mask = (torch.stack([texts[i][row] for texts in (true, *false)]) for i in (0, 1))
        fused = network.fused(ids, mask, clips[row].expand(len(ids), -1, -1, -1, -1))
        yield {"irtr_loss": ranking_loss(network.rank_score(fused)[None]) / len(clips)}


def _assert_gradients(network, wanted):
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    scale = wanted["norm"].max()
    assert sorted(gradients) == sorted(wanted["keys"])
    for key, norm, first in zip(wanted["keys"], wanted["norm"], wanted["first4"], strict=True):
        gradient = gradients[key]
        if gradient is None:  # the distilled class never uses its temporal embedding
            assert norm == 0, key
            continue
        assert abs(gradient.norm().item() - norm) <= NORM_TOLERANCE * norm, key
        start = functional.pad(gradient.flatten()[:4], (0, max(0, 4 - gradient.numel())))
        assert np.abs(start.numpy() - first).max() <= FIRST_TOLERANCE * scale, key
