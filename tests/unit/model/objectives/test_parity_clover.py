"""Clover's losses, metrics and video masks are the published ones. See tests/clover_parity.py.

All in float64: values and gradients to 1e-9.
"""

import random

import pytest
import torch
from torch.nn import functional

from model.metrics import Recall, rank_videos
from model.objectives.clover import TriModal, clover_losses
from model.objectives.contrastive import contrastive_loss
from model.objectives.focal import focal_masked_language_loss
from model.objectives.pairwise import pairwise_ranking_loss
from model.objectives.tri_modal import exclusive_nce
from model.tube_masking import tube_masks
from tests import clover_parity

EXACT = {"atol": 1e-9, "rtol": 1e-9}
TRI_MODAL = {"A": {}, "B": {}, "C": {"temperature": 0.1, "margin": 2.0}, "D": {}}
PARTS = {
    "align_video": "nce_v_anchor",
    "rank_text": "rank_t_tm",
    "align_text": "nce_t_anchor",
    "rank_video": "rank_v_vm",
}
OF_VIDEO = ("v", "t", "tm", "mvm")
"""What is compared when clips are the anchors, in the order of the loss's arguments."""
FIELDS = {
    "video": "v",
    "text": "t",
    "masked_text": "tm",
    "joint_video": "mvm",
    "masked_video": "vm",
    "joint_text": "mtm",
}


@pytest.fixture(scope="module")
def arrays(request):
    path = clover_parity.find_file(request.config.getoption("parity_fixtures"))
    if path is None:
        pytest.skip("this folder has no numbers of Clover")
    return clover_parity.read_arrays(path)


def _inputs(stored):
    return {name: stored[f"in_{short}"].requires_grad_() for name, short in FIELDS.items()}


@pytest.mark.parametrize("case", TRI_MODAL)
def test_tri_modal_parts_and_their_gradients(arrays, case):
    stored = clover_parity.tensors(arrays, f"fn_tma{case}_")
    inputs = _inputs(stored)
    losses = clover_losses(TriModal(**inputs), **TRI_MODAL[case])
    assert sorted(losses) == sorted(PARTS)
    for name, theirs in PARTS.items():
        torch.testing.assert_close(losses[name].detach(), stored[theirs], **EXACT)
    total = torch.stack(list(losses.values())).sum()
    torch.testing.assert_close(total.detach(), stored["total"], **EXACT)
    total.backward()
    for name, short in FIELDS.items():
        torch.testing.assert_close(inputs[name].grad, stored[f"grad_{short}"], **EXACT)


@pytest.mark.parametrize("case", TRI_MODAL)
def test_exclusive_nce_alone_has_the_published_gradients(arrays, case):
    stored = clover_parity.tensors(arrays, f"fn_tma{case}_")
    inputs = _inputs(stored)
    names = ("video", "text", "masked_text", "joint_video")
    scale = {"temperature": TRI_MODAL[case].get("temperature", 0.05)}
    exclusive_nce(*(inputs[name] for name in names), **scale).backward()
    for name in names:
        wanted = stored[f"gradncev_{FIELDS[name]}"]
        torch.testing.assert_close(inputs[name].grad, wanted, **EXACT)


@pytest.mark.parametrize(("case", "focus"), [("A", 2), ("B", 1)])
def test_focal_loss_and_its_gradient(arrays, case, focus):
    stored = clover_parity.tensors(arrays, f"fn_focal{case}_")
    logits = stored["in_logits"].requires_grad_()
    loss = focal_masked_language_loss(logits, stored["in_labels"], focus=focus)
    torch.testing.assert_close(loss.detach(), stored["loss"], **EXACT)
    loss.backward()
    torch.testing.assert_close(logits.grad, stored["grad"], **EXACT)


@pytest.mark.parametrize(("case", "temperature"), [("A", 0.05), ("B", 0.07)])
def test_the_fine_tuning_loss_is_our_contrastive_loss(arrays, case, temperature):
    stored = clover_parity.tensors(arrays, f"fn_nsl{case}_")
    texts, videos = (stored[f"in_{short}"].requires_grad_() for short in "tv")
    loss = contrastive_loss(
        functional.normalize(texts, eps=1e-8),
        functional.normalize(videos, eps=1e-8),
        temperature=temperature,
    )
    torch.testing.assert_close(loss.detach(), stored["loss"], **EXACT)
    loss.backward()
    torch.testing.assert_close(texts.grad, stored["grad_t"], **EXACT)
    torch.testing.assert_close(videos.grad, stored["grad_v"], **EXACT)


@pytest.mark.parametrize("case", ["A", "B"])
def test_recall_and_median_rank(arrays, case):
    stored = clover_parity.tensors(arrays, f"fn_met{case}_")
    texts, videos = (functional.normalize(stored[f"in_{short}"], eps=1e-8) for short in "tv")
    found = Recall.of(rank_videos((texts @ videos.T).numpy()))
    recalls = (found.r1, found.r5, found.r10)
    summed = sum(recalls) - found.median_rank
    ours = torch.tensor([*recalls, found.median_rank, summed], dtype=torch.float64)
    torch.testing.assert_close(ours, stored["out"], **EXACT)


def test_both_processes_of_a_run_have_the_loss_of_all_rows(arrays):
    ranks = [clover_parity.tensors(arrays, f"fn_dist_rank{rank}_") for rank in (0, 1)]
    rows = {s: torch.cat([r[f"in_{s}"] for r in ranks]).requires_grad_() for s in OF_VIDEO}
    loss = exclusive_nce(*rows.values())
    ranked = pairwise_ranking_loss(rows["v"], rows["t"], rows["tm"])
    for rank in ranks:
        torch.testing.assert_close(loss.detach(), rank["nce"], **EXACT)
        torch.testing.assert_close(ranked.detach(), rank["rank"], **EXACT)
    (loss + ranked).backward()
    for short, value in rows.items():
        theirs = torch.cat([rank[f"grad_{short}"] for rank in ranks])
        torch.testing.assert_close(value.grad, theirs, **EXACT)


def test_tube_masks(arrays):
    seed = int(arrays["fn_vmask_seed0"])
    wanted = torch.from_numpy(arrays["fn_vmask_masks"]).bool()
    ours = [tube_masks(1, draw=random.Random(seed + i)) for i in range(len(wanted))]
    assert (torch.cat(ours) == wanted).all()
