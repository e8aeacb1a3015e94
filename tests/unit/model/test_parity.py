"""Our network computes what the published one does, to rounding. See tests/parity.py.

`--parity-fixtures DIR` runs the same tests on any folder of such files.
"""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests import parity

FORWARD_TOLERANCE = 1e-4
SIMILARITY_TOLERANCE = 1e-5
VOCABULARY_STRIDE = 1024
CASES = "parity_case"

pytestmark = pytest.mark.timeout(1200)  # the largest network, on a machine that is busy


def pytest_generate_tests(metafunc):
    if CASES in metafunc.fixturenames:
        cases = parity.find_cases(metafunc.config.getoption("parity_fixtures"))
        metafunc.parametrize(CASES, cases, ids=str)


@contextmanager
def recorded(network):
    """Keep what goes into blocks 0 and 1, what comes out of 0, 1 and 11, and the last norm."""
    record, handles = {}, []

    def keep(name, tensor):
        record[name] = tensor.detach().clone()

    for index in (0, 1, len(network.transformer.blocks) - 1):
        block = network.transformer.blocks[index]
        handles += [
            block.register_forward_pre_hook(lambda _, args, i=index: keep(f"into{i}", args[0])),
            block.register_forward_hook(lambda _, __, out, i=index: keep(f"block{i}", out)),
        ]
    norm = network.transformer.norm
    handles.append(norm.register_forward_hook(lambda _, __, out: keep("normed", out)))
    yield record
    for handle in handles:
        handle.remove()


def assert_same(found, wanted, tolerance=FORWARD_TOLERANCE):
    """Compare every array, by name."""
    assert sorted(found) == sorted(wanted)
    for name, expected in wanted.items():
        array = found[name].numpy()
        assert array.shape == expected.shape, name
        if expected.dtype.kind == "f":
            assert np.abs(array - expected).max() <= tolerance, name
        else:
            assert (array == expected).all(), name


@torch.inference_mode()
def test_inputs_are_drawn_as_the_file_says(parity_case):
    ids, mask = parity_case.texts()
    stored = parity_case.arrays
    assert (ids.numpy() == stored[f"{parity_case.name}/text_ids"]).all()
    assert (mask.numpy() == stored[f"{parity_case.name}/text_mask"]).all()
    probe = parity_case.clips().flatten()[::50021][:16].numpy()
    assert (probe == stored[f"{parity_case.name}/frames_probe"]).all()


@torch.inference_mode()
def test_text_only_pass(parity_case):
    network = parity_case.network()
    ids, mask = parity_case.texts()
    with recorded(network) as record:
        features = network.text_features(ids, mask)
    slots = [0, 1, 8, 39]
    found = {f"block{i}": record[f"block{i}"][:, slots, :32] for i in (0, 1, 11)}
    found |= {
        "embed": record["into0"][:, :, :16],
        "tokens": record["normed"][:, :, :16],
        "cls_raw": features[:, 0],
        "cls_pooled": network.pooler(features[:, 0]),
        "proj_cls": network.txt_proj(features[:, 0]),
    }
    assert_same(found, parity_case.under("text"))


@torch.inference_mode()
def test_video_only_pass(parity_case):
    network = parity_case.network()
    with recorded(network) as record:
        features = network.video_features(parity_case.clips())
    num_tokens = features.shape[1]
    slots = [0, 1, num_tokens // 2, num_tokens - 1]
    found = {f"block{i}": record[f"block{i}"][:, slots, :64] for i in (0, 1, 11)}
    found |= {
        "embed": record["into0"][:, :, :8],
        "frame_cls": record["normed"][:, 0].unflatten(0, (-1, parity_case.frames)),
        "cls_raw": features[:, 0],
        "cls_pooled": network.pooler(features[:, 0]),
        "proj_cls": network.vid_proj(features[:, 0]),
    }
    assert_same(found, parity_case.under("video"))


@torch.inference_mode()
def test_similarity_of_the_dual_stream(parity_case):
    network = parity_case.network()
    texts = network.embed_text(*parity_case.texts())
    videos = network.embed_video(parity_case.clips())
    wanted = parity_case.under("vtc")
    assert_same({"sim": texts @ videos.T}, wanted, tolerance=SIMILARITY_TOLERANCE)


@pytest.mark.parametrize("order", ["raster", "perm"])
@torch.inference_mode()
def test_fused_pass(parity_case, order):
    network = parity_case.network()
    ids, mask = parity_case.texts()
    permutation = parity_case.permutation() if order == "perm" else None
    with recorded(network) as record:
        fused = network.fused(ids, mask, parity_case.clips(), permutation)
    found = _fused_arrays(network, fused, record, parity_case.frames)
    assert_same(found, parity_case.under(f"fused_{order}"))


def _fused_arrays(network, fused, record, frames):
    image_slots = _image_slots(fused.image.shape[1])
    slots = [0, 1, 39, *(parity.TEXT_LENGTH + slot for slot in image_slots)]
    mlm = network.mlm_logits(fused.text)
    found = {f"block{i}": record[f"block{i}"][:, slots, :64] for i in (0, 1, 11)}
    return found | {
        "rolled0": record["into0"][:, slots, :32],
        "rolled1": record["into1"][:, slots, :32],
        "frame_cls": record["normed"][:, 0].unflatten(0, (-1, frames)),
        "cls_raw": fused.text[:, 0],
        "cls_pooled": fused.pooled,
        "vtm_logits": network.match_logits(fused),
        "rank_score": network.rank_score(fused),
        "mlm_logits_stride": mlm[..., ::VOCABULARY_STRIDE],
        "mlm_logsumexp": mlm.logsumexp(dim=-1),
        "mlm_argmax": mlm.argmax(dim=-1),
        "text_tokens": fused.text[..., :16],
        "image_tokens": fused.image[:, image_slots, :32],
    }


def _image_slots(num_tokens):
    rolled = num_tokens // 8
    middle, end = num_tokens // 2, num_tokens
    return [0, 1, 2, rolled, rolled + 1, middle, end - rolled - 1, end - rolled, end - 1]


def test_patch_embedding_is_the_published_convolution(parity_case):
    with torch.inference_mode():
        embedding = parity_case.network().transformer.patch_embed
        clip = parity_case.clips()[:1]
        by_convolution = functional.conv2d(
            clip[0], embedding.proj.weight, embedding.proj.bias, stride=embedding.patch
        )
        patches = embedding(clip)[0]
    torch.testing.assert_close(patches, by_convolution.flatten(2).mT, atol=1e-5, rtol=0)
