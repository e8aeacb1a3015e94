"""All-in-One's passes on tokens: what training with Clover's objectives asks of a network."""

from dataclasses import replace

import pytest
import torch

from model.all_in_one.dims import BASE, Dims
from model.all_in_one.network import AllInOne, assemble
from model.objectives.clover import TriModal, clover_losses
from model.passes import VideoTextNetwork
from model.tube_masking import tube_masks
from tests.factories_model import TINY, make_tiny_network

JOINT = replace(TINY, has_joint_heads=True)
VARIANTS = {
    "plain": JOINT,
    "distilled": replace(JOINT, is_distilled=True),
    "raster": replace(JOINT, roll_order="raster"),
    "rolls unimodal": replace(JOINT, rolls_unimodal=True),
    "rolls unimodal in raster order": replace(JOINT, roll_order="raster", rolls_unimodal=True),
}
CLOSE = {"atol": 2e-5, "rtol": 0}


@pytest.fixture(params=VARIANTS, ids=str)
def network(request):
    return make_tiny_network(dims=VARIANTS[request.param]).requires_grad_(requires_grad=False)


@pytest.fixture
def texts():
    ids = torch.randint(1, TINY.vocabulary, (4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([9, 3, 6, 2])[:, None]
    return ids * mask, mask


@pytest.fixture
def frames():
    return torch.randn(4, 3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def hidden():
    """Other cells of each clip."""
    return torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(3)) < 0.3


def test_it_is_what_training_asks_for():
    network: VideoTextNetwork = make_tiny_network(dims=JOINT)
    assert network.mask_grid == JOINT.grid


def test_tokens_give_the_embeddings_of_texts_and_clips(network, texts, frames):
    ids, mask = texts
    words = network.text_tokens(ids, mask)
    assert (network.embed_words(words, mask) == network.embed_text(ids, mask)).all()
    visual = network.visual_tokens(frames)
    torch.testing.assert_close(network.embed_visual(visual), network.embed_video(frames), **CLOSE)


def test_tokens_give_the_fused_pass(network, texts, frames):
    ids, mask = texts
    visual = network.visual_tokens(frames)
    joined = network.join(network.text_tokens(ids, mask), mask, visual)
    fused = network.fused(ids, mask, frames)
    for name in ("text", "image", "pooled"):
        assert (getattr(joined, name) == getattr(fused, name)).all()


def test_no_pass_changes_the_tokens_that_another_will_use(network, texts, frames):
    ids, mask = texts
    words, visual = network.text_tokens(ids, mask), network.visual_tokens(frames)
    before = words.clone(), visual.clone()
    network.embed_words(words, mask)
    network.embed_visual(visual)
    network.join(words, mask, visual)
    assert (words == before[0]).all()
    assert (visual == before[1]).all()


def test_hidden_cells_change_the_hidden_patches_alone(network, frames, hidden):
    special = network.transformer.num_special
    order = torch.arange(JOINT.num_patches) if network.slot_order is None else network.slot_order
    is_hidden = hidden.flatten(1)[:, order]  # (B, N), by slot
    clean = network.visual_tokens(frames)
    masked = network.visual_tokens(frames, hidden=hidden)
    assert (clean[:, :, :special] == masked[:, :, :special]).all()
    clean, masked = (tokens[:, :, special:].transpose(1, 2) for tokens in (clean, masked))
    assert (clean[~is_hidden] == masked[~is_hidden]).all()
    assert (clean[is_hidden] != masked[is_hidden]).any(dim=-1).all()


def test_what_is_hidden_is_not_seen(network, frames, hidden):
    pixels = hidden.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)[:, None, None]
    others = torch.where(pixels, torch.randn_like(frames), frames)
    first, second = (network.visual_tokens(f, hidden=hidden) for f in (frames, others))
    assert (first == second).all()
    assert (network.embed_visual(first) != network.embed_video(frames)).any(dim=1).all()


def test_a_hidden_patch_keeps_its_place_and_time(network, frames):
    everything = torch.ones(4, 4, 4, dtype=torch.bool)
    tokens = network.visual_tokens(frames, hidden=everything)[
        0, :, network.transformer.num_special :
    ]
    assert (tokens[:, :-1] != tokens[:, 1:]).any(dim=-1).all()
    if network.transformer.num_special == 1:  # the distilled class has no temporal embedding
        assert (tokens[:-1] != tokens[1:]).any(dim=-1).all()


def test_a_cell_of_the_published_size_covers_four_patches():
    dims = Dims(width=64, depth=1, patch=16, frame_size=224, vocabulary=10, has_joint_heads=True)
    network = make_tiny_network(dims=dims).requires_grad_(requires_grad=False)
    assert (dims.mask_grid, BASE.mask_grid, TINY.mask_grid) == (7, 7, 4)
    cells = torch.zeros(1, 7, 7, dtype=torch.bool)
    cells[0, 1, 2] = True
    frames = torch.randn(1, 2, 3, 224, 224)
    clean, masked = network.visual_tokens(frames), network.visual_tokens(frames, hidden=cells)
    changed = (clean != masked).any(dim=-1)[0, :, 1:].view(2, 14, 14)
    assert changed.nonzero()[:, 1:].unique(dim=0).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]
    assert changed[0].equal(changed[1])


def test_cells_of_another_grid_are_refused(network, frames):
    with pytest.raises(ValueError, match=r"\(4, 7, 7\) are not \(B, 4, 4\)"):
        network.visual_tokens(frames, hidden=torch.zeros(4, 7, 7, dtype=torch.bool))


def test_gradients_of_clovers_objectives_reach_everything_they_should(texts, frames):
    network = make_tiny_network(dims=JOINT).train()
    _clover_total(network, texts, frames).backward()
    unused = {name for name, value in network.named_parameters() if value.grad is None}
    assert unused == {
        *(f"pooler.dense.{part}" for part in ("weight", "bias")),
        *(f"itm_score.fc.{part}" for part in ("weight", "bias")),
        *(name for name, _ in network.named_parameters() if name.startswith("mlm_score.")),
    }
    for name in (
        "transformer.mask_token",
        "joint_video_head.fc1.weight",
        "joint_text_head.fc1.weight",
    ):
        assert network.get_parameter(name).grad.norm() > 0, name


def _clover_total(network: AllInOne, texts, frames):
    ids, mask = texts
    cells = tube_masks(len(frames), grid=network.mask_grid)
    words, visual = network.text_tokens(ids, mask), network.visual_tokens(frames)
    partly_read = network.text_tokens(ids.roll(1, dims=1) * mask, mask)
    partly_seen = network.visual_tokens(frames, hidden=cells)
    embeddings = TriModal(
        video=network.embed_visual(visual),
        text=network.embed_words(words, mask),
        masked_video=network.embed_visual(partly_seen),
        masked_text=network.embed_words(partly_read, mask),
        joint_video=network.joint_video(network.join(words, mask, partly_seen)),
        joint_text=network.joint_text(network.join(partly_read, mask, visual)),
    )
    return torch.stack(list(clover_losses(embeddings).values())).sum()


def test_without_joint_heads_nothing_is_added_to_a_published_network():
    with torch.device("meta"):
        plain, joint = assemble(TINY), assemble(JOINT)
    added = joint.state_dict().keys() - plain.state_dict().keys()
    assert {name.split(".")[0] for name in added} == {
        "transformer",
        "joint_video_head",
        "joint_text_head",
    }
    assert not plain.state_dict().keys() - joint.state_dict().keys()


def test_joint_heads_need_projections():
    with pytest.raises(ValueError, match="joint heads need the projections"):
        replace(JOINT, has_projections=False)
