"""Our Clover computes what the published one does, to rounding. See tests/clover_networks.py.

`--parity-fixtures DIR` runs the same tests on another file of such numbers.
"""

from dataclasses import replace

import pytest
import torch

from model.clover.keys import clover_names
from tests import clover_networks, clover_parity
from tests.clover_networks import DIMS, Outcome

FORWARD = 1e-5
"""Largest difference, as a share of the largest number of an array."""
GRADIENT = 1e-4
NOISE = 1e-5
"""Biases of keys have no gradient but rounding."""
NOT_OURS = "multimodal_backbone.bert_embedding."
"""Tables of the published fusion that nothing reads."""


@pytest.fixture(scope="module")
def arrays(request):
    path = clover_parity.find_file(request.config.getoption("parity_fixtures"))
    if path is None:
        pytest.skip("this folder has no numbers of Clover")
    return clover_parity.read_arrays(path)


@pytest.fixture(scope="module")
def network(arrays):
    return clover_networks.make_network(str(arrays["salt"]), DIMS["tiny"])


@pytest.fixture(scope="module")
def outcome(network, arrays):
    """One pass over the small network, with gradients."""
    outcome = Outcome(network, arrays, "tiny")
    network.zero_grad()
    outcome.losses["total"].backward()
    return outcome


def assert_close(found, wanted, name, tolerance=FORWARD):
    wanted = torch.as_tensor(wanted)
    assert found.shape == wanted.shape, name
    difference = (found.detach() - wanted).abs().max()
    assert difference <= tolerance * wanted.abs().max(), name


def assert_weights(network, arrays, prefix):
    """Check the first numbers of six tensors, to tell a wrong draw from a wrong network."""
    state = network.state_dict()
    owners = {part: name for name in state for part in clover_names(name)}
    for key, wanted in zip(
        arrays[f"{prefix}_wcheck_names"], arrays[f"{prefix}_wcheck"], strict=True
    ):
        assert_close(state[owners[str(key)]].flatten()[:8], wanted, key, tolerance=0)


def assert_passes(outcome, arrays, prefix, names):
    for name in names:
        assert_close(outcome.arrays[name], arrays[f"{prefix}_{name}"], name)
    for name, loss in outcome.losses.items():
        assert_close(loss, arrays[f"{prefix}_loss_{name}"], name)


def _outputs(arrays, prefix):
    names = clover_parity.under(arrays, f"{prefix}_")
    others = ("in_", "loss_", "grad", "wcheck")
    return [name for name in names if not name.startswith(others)]


def test_the_weights_are_drawn_as_the_file_says(network, arrays):
    assert_weights(network, arrays, "tiny")


def test_every_array_of_pre_training(outcome, arrays):
    names = _outputs(arrays, "tiny")
    assert sorted(names) == sorted(outcome.arrays)
    assert_passes(outcome, arrays, "tiny", names)


def test_gradients_of_every_parameter(network, outcome, arrays):  # noqa: ARG001 (made them)
    found = _gradients(network)
    sums = zip(arrays["tiny_grad_l2"], arrays["tiny_grad_sum"], strict=True)
    wanted = dict(zip(arrays["tiny_grad_names"].tolist(), sums, strict=True))
    wanted = {name: of for name, of in wanted.items() if not name.startswith(NOT_OURS)}
    assert found.keys() == wanted.keys()
    for name, (length, total) in wanted.items():
        gradient = found[name]
        if gradient is None:
            assert length == -1, name
            continue
        gradient = gradient.double()
        assert gradient.norm() == pytest.approx(length, rel=GRADIENT, abs=NOISE), name
        largest = gradient.numel() ** 0.5 * length  # of what numbers of this length can add up to
        assert gradient.sum() == pytest.approx(total, abs=GRADIENT * largest + NOISE), name
    for name, gradient in clover_parity.under(arrays, "tiny_grad/").items():
        assert_close(found[name], gradient, name, tolerance=GRADIENT)


def _gradients(network):
    found = {}
    for name, parameter in network.named_parameters():
        published = clover_networks.parts(name, parameter)
        pieces = [None] if parameter.grad is None else parameter.grad.chunk(len(published))
        for index, (part, _) in enumerate(published):
            found[part] = pieces[index % len(pieces)]
    return found


@torch.inference_mode()
def test_a_clip_of_32_frames_and_its_text(network, arrays):
    """Time is cut into shifted windows, unlike in 8 frames."""
    visual = network.visual_tokens(clover_networks.read_frames(arrays, "test32"))
    given = clover_parity.tensors(arrays, "test32_")
    assert_close(network.video_proj(visual.mean(dim=(1, 2, 3))), given["emb_v"], "emb_v")
    words = network.text_tokens(given["in_token_ids"], given["in_attn_mask"].bool())
    assert_close(network.text_proj(words[:, 0]), given["emb_t"], "emb_t")


@torch.inference_mode()
def test_an_image_is_a_clip_of_one_frame(network, arrays):
    visual = network.visual_tokens(clover_networks.read_frames(arrays, "img1"))
    found = clover_networks.published_layout(visual)
    assert_close(found, arrays["img1_visual_token"], "visual_token")
    assert_close(network.video_proj(visual.mean(dim=(1, 2, 3))), arrays["img1_emb_v"], "emb_v")


@torch.inference_mode()
def test_one_clip_alone(network, arrays):
    visual = network.visual_tokens(clover_networks.read_frames(arrays, "tiny")[:1])
    assert_close(network.video_proj(visual.mean(dim=(1, 2, 3))), arrays["single_emb_v"], "emb_v")


@torch.inference_mode()
def test_frames_that_need_padding_and_smaller_windows(arrays):
    """With the published numbering of small windows; ours is right where that one is not."""
    dims = replace(DIMS["tiny"], cuts_bias_index=True)
    network = clover_networks.make_network(str(arrays["salt"]), dims)
    visual = network.visual_tokens(clover_networks.read_frames(arrays, "odd96"))
    found = clover_networks.published_layout(visual)
    assert_close(found, arrays["odd96_visual_token"], "visual_token")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@torch.inference_mode()
def test_every_array_of_the_published_size(arrays):
    network = clover_networks.make_network(str(arrays["salt"]), DIMS["base"])
    assert_weights(network, arrays, "base")
    outcome = Outcome(network, arrays, "base")
    for name in ("visual_token", "visual_token_masked"):
        features = outcome.arrays.pop(name)
        outcome.arrays[f"{name}_pool"] = features.mean(dim=(2, 3, 4))
        outcome.arrays[f"{name}_corner"] = features[:, :, :2, :2, :2]
    for name in ("fused_vm_t_video", "fused_v_tm_video"):
        outcome.arrays[f"{name}_head"] = outcome.arrays.pop(name)[:, :8]
    names = _outputs(arrays, "base")
    assert sorted(names) == sorted(outcome.arrays)
    assert_passes(outcome, arrays, "base", names)
