"""Clips settle where their texts are."""

import pytest
import torch

from model.adapting import adapt
from model.all_in_one.network import build
from model.preprocessing import Preprocessing
from model.settling import settle
from model.trainable import TrainableBundle
from tests.factories_training import ALL_IN_ONE, PREPROCESSING, TOKENIZER

CAPTIONS = [("a car stops", "an automobile halts"), ("two children play",), ("a cat sleeps",)]
OTHERS = ["the vehicle brakes", "kids having fun", "the kitten naps"]


@pytest.fixture
def bundle():
    torch.manual_seed(0)
    fresh = TrainableBundle(build(ALL_IN_ONE), ALL_IN_ONE, PREPROCESSING, TOKENIZER, 0.0)
    told = [text for texts in CAPTIONS for text in texts]
    return adapt(fresh, told, needs_joint_heads=False, dropout=0.1, seed=0)[0]


@pytest.fixture
def clips():
    shape: Preprocessing = PREPROCESSING
    side = shape.frame_size
    generator = torch.Generator().manual_seed(1)
    sizes = (3, shape.frames_per_clip, side, side, 3)
    return torch.randint(0, 256, sizes, dtype=torch.uint8, generator=generator)


def similarities(bundle, texts, clips):
    network = bundle.network.eval()
    with torch.no_grad():
        videos = network.embed_video(bundle.preprocessing.normalise(clips))
        found = []
        for text in texts:
            ids = torch.tensor([bundle.tokenizer.encode(text).ids])
            found.append(network.embed_text(ids, torch.ones_like(ids, dtype=torch.bool))[0])
    return torch.stack(found) @ videos.T


def test_clips_are_found_by_texts_that_were_never_seen(bundle, clips):
    settle(bundle, [clips], CAPTIONS)
    assert similarities(bundle, OTHERS, clips).argmax(dim=1).tolist() == [0, 1, 2]


def test_clips_come_closer_to_their_own_texts(bundle, clips):
    own = [texts[0] for texts in CAPTIONS]
    before = similarities(bundle, own, clips).diag()
    settle(bundle, [clips], CAPTIONS)
    assert (similarities(bundle, own, clips).diag() > before).all()


def test_it_does_not_matter_how_many_clips_come_at_a_time(bundle, clips):
    texts = [texts[0] for texts in CAPTIONS]
    weight = bundle.network.vid_proj.weight.clone()
    bias = bundle.network.vid_proj.bias.clone()
    settle(bundle, [clips], CAPTIONS)
    whole = similarities(bundle, texts, clips)
    with torch.no_grad():
        bundle.network.vid_proj.weight.copy_(weight)
        bundle.network.vid_proj.bias.copy_(bias)
    settle(bundle, clips.split(1), CAPTIONS)
    assert torch.allclose(similarities(bundle, texts, clips), whole, atol=1e-4)


def test_nothing_but_the_last_layer_changes(bundle, clips):
    before = {name: value.clone() for name, value in bundle.network.state_dict().items()}
    bundle.network.train()
    settle(bundle, [clips], CAPTIONS)
    changed = {
        name
        for name, value in bundle.network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"vid_proj.weight", "vid_proj.bias"}
    assert bundle.network.training
