"""A network keeps what it has learned when heads come and go."""

from dataclasses import replace

import pytest
import torch

from model.all_in_one.rebuilding import rebuild
from model.bundle import load_trainable
from tests.factories_model import TINY, make_tiny_bundle, make_tiny_network

JOINT = replace(TINY, has_joint_heads=True)


@pytest.fixture
def frames():
    return torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def test_heads_come_and_go_and_embeddings_stay(frames):
    network = make_tiny_network()
    grown = rebuild(network, JOINT)
    assert (grown.embed_video(frames) == network.embed_video(frames)).all()
    assert grown.joint_video_head.fc1.weight.std() > 0
    shrunk = rebuild(grown, TINY)
    assert shrunk.state_dict().keys() == network.state_dict().keys()
    assert all(value.equal(shrunk.state_dict()[k]) for k, value in network.state_dict().items())


def test_a_matcher_gets_projections(frames):
    network = make_tiny_network(dims=replace(TINY, has_projections=False))
    with torch.inference_mode():
        assert rebuild(network, TINY).embed_video(frames).norm(dim=1).tolist() == pytest.approx(
            [1, 1]
        )


def test_more_frames_follow_the_published_rule():
    network = make_tiny_network()
    longer = rebuild(network, replace(TINY, frames=5)).transformer.temporal_embed
    assert longer[:, :3].equal(network.transformer.temporal_embed)
    assert (longer[:, 3:] == 0).all()


def test_the_old_network_is_left_alone():
    network = make_tiny_network()
    rebuilt = rebuild(network, TINY, dropout=0.1)
    with torch.no_grad():
        for parameter in rebuilt.parameters():
            parameter.zero_()
    assert all(parameter.any() for parameter in network.parameters())
    assert rebuilt.transformer.dropout.p == 0.1


def test_another_width_is_refused():
    with pytest.raises(ValueError, match=r"does not fit \("):
        rebuild(make_tiny_network(), replace(TINY, width=32, heads=2))


def test_joint_heads_are_kept_in_a_bundle(tmp_path):
    folder = make_tiny_bundle(tmp_path / "joint", dims=JOINT)
    stored = load_trainable(folder)
    assert stored.dims == JOINT
    wanted = make_tiny_network(dims=JOINT).state_dict()
    state = stored.network.state_dict()
    assert state.keys() == wanted.keys()
    assert all(value.equal(wanted[name]) for name, value in state.items())
