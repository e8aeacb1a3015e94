"""On a GPU the numbers are those of the CPU. Without one these tests are left out."""

from itertools import repeat

import numpy as np
import pytest
import torch

from model.all_in_one.dims import TINY
from model.bundle import load_bundle
from model.data import RawBatch, collate
from model.masking import WordMasker
from model.plan import Plan
from model.recipes.native import NativeObjectives, NativeRecipe
from model.train import Training
from tests.factories_model import TINY_PREPROCESSING, make_tiny_network, make_tokenizer

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
TEXTS = ["a red dog runs", "the blue ball moves left", "a cat", "green square grows and shrinks"]


@pytest.mark.parametrize(
    ("dtype", "furthest"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)], ids=["fp32", "bf16"]
)
def test_every_pass_of_a_published_size_gives_what_it_gives_on_the_cpu(dtype, furthest):
    network = make_tiny_network(dims=TINY)
    torch.manual_seed(1)
    ids = torch.randint(TINY.vocabulary, (3, 12))
    mask = torch.arange(12) < torch.tensor([[12], [5], [9]])
    frames = torch.randn(3, 3, 3, 224, 224)
    with torch.inference_mode():
        expected = passes(network, ids, mask, frames)
        network.to(DEVICE)
        with torch.autocast(DEVICE, dtype, enabled=dtype is not torch.float32):
            found = passes(network, ids.to(DEVICE), mask.to(DEVICE), frames.to(DEVICE))
    for name, value in expected.items():
        spread = value.std()
        assert (found[name].float().cpu() - value).abs().max() < furthest * max(1, spread), name


def passes(network, ids, mask, frames):
    return {
        "text": network.embed_text(ids, mask),
        "video": network.embed_video(frames),
        "match": network.match(ids, mask, network.visual_tokens(frames)),
    }


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_bundle_answers_on_the_gpu_as_on_the_cpu(bundle_dir, precision):
    on_cpu = load_bundle(bundle_dir, precision="float32")
    on_gpu = load_bundle(bundle_dir, device=DEVICE, precision=precision)
    clips = torch.from_numpy(make_clips(len(TEXTS)))
    tokens = on_cpu.tokenize(TEXTS)
    furthest = 1e-4 if precision == "float32" else 5e-2
    for answer in (
        lambda model: model.embed_text(tokens),
        lambda model: model.embed_video(clips),
        lambda model: model.match(tokens, clips),
    ):
        expected, found = answer(on_cpu), answer(on_gpu)
        assert found.device.type == "cpu"
        assert found.dtype is torch.float32
        assert (found - expected).abs().max() < furthest


def test_a_training_step_has_the_losses_of_the_cpu():
    plan = Plan(steps=1, precision="float32")
    losses = {
        device: next(iter(start(device, plan).run(batches()))).losses for device in ("cpu", DEVICE)
    }
    assert losses[DEVICE] == pytest.approx(losses["cpu"], rel=1e-3, abs=1e-4)


def test_training_on_the_gpu_learns_one_batch_by_heart():
    plan = Plan(steps=40, learning_rate=3e-3, warmup_steps=4)
    losses = [step.losses["contrast"] for step in start(DEVICE, plan).run(batches())]
    assert len(losses) == plan.steps
    assert losses[-1] < losses[0] / 2


def start(device, plan):
    network = make_tiny_network().train()
    recipe = NativeRecipe(
        network=network.to(device),
        masker=WordMasker.of(make_tokenizer()),
        objectives=NativeObjectives(),
        num_special=1,
    )
    return Training(recipe=recipe, plan=plan)


def batches():
    nothing = np.zeros((len(TEXTS), 0), np.int64)
    raw = RawBatch(
        clips=make_clips(len(TEXTS)),
        texts=TEXTS,
        groups=np.arange(len(TEXTS)),
        is_true=np.eye(len(TEXTS), dtype=bool),
        clip_facts=nothing,
        text_facts=nothing,
    )
    return repeat(collate(raw, make_tokenizer(), preprocessing=TINY_PREPROCESSING))


def make_clips(count):
    random = np.random.default_rng(3)
    side, frames = TINY_PREPROCESSING.frame_size, TINY_PREPROCESSING.frames_per_clip
    return random.integers(256, size=(count, frames, side, side, 3), dtype=np.uint8)
