"""What must hold for an All-in-One network of any size."""

from dataclasses import replace

import pytest
import torch

from model.all_in_one.dims import BASE, SMALL, Dims
from model.all_in_one.dims import TINY as PUBLISHED_TINY
from model.all_in_one.embeddings import fit_temporal
from model.all_in_one.network import assemble, build
from model.objectives.contrastive import contrastive_loss
from model.objectives.matching import matching_loss
from tests.factories_model import TINY, make_tiny_network

VARIANTS = {
    "plain": TINY,
    "distilled": replace(TINY, is_distilled=True),
    "raster": replace(TINY, roll_order="raster"),
    "rolls unimodal": replace(TINY, rolls_unimodal=True),
}
MOST_STEPS = 300
OVERFITTED = 0.1
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


def _everything(network, ids, mask, frames):
    fused = network.fused(ids, mask, frames)
    return {
        "text": network.embed_text(ids, mask),
        "video": network.embed_video(frames),
        "match": network.match_logits(fused),
        "words": network.mlm_logits(fused.text[:, :2]),
    }


def test_padding_changes_nothing(network, texts, frames):
    ids, mask = texts
    padded = [torch.nn.functional.pad(tensor, (0, 5)) for tensor in texts]
    torch.testing.assert_close(
        _everything(network, *padded, frames), _everything(network, ids, mask, frames), **CLOSE
    )


def test_what_stands_in_the_padding_changes_nothing(network, texts, frames):
    ids, mask = texts
    torch.testing.assert_close(
        _everything(network, ids.masked_fill(~mask, 7), mask, frames),
        _everything(network, ids, mask, frames),
        **CLOSE,
    )


def test_the_rest_of_the_batch_changes_nothing(network, texts, frames):
    together = _everything(network, *texts, frames)
    for row in range(4):
        alone = _everything(network, *(part[row : row + 1] for part in (*texts, frames)))
        torch.testing.assert_close(
            alone, {name: value[row : row + 1] for name, value in together.items()}, **CLOSE
        )


def test_matching_alone_is_the_fused_pass_without_what_is_not_needed(network, texts, frames):
    alone = network.match(*texts, network.visual_tokens(frames))
    whole = network.match_logits(network.fused(*texts, frames))
    torch.testing.assert_close(alone, whole, **CLOSE)


def test_embeddings_are_the_projected_first_features(network, texts, frames):
    text = network.txt_proj(network.text_features(*texts)[:, 0])
    video = network.vid_proj(network.video_features(frames)[:, 0])
    torch.testing.assert_close(
        network.embed_text(*texts), text / text.norm(dim=1, keepdim=True), **CLOSE
    )
    torch.testing.assert_close(
        network.embed_video(frames), video / video.norm(dim=1, keepdim=True), **CLOSE
    )


def test_visual_tokens_can_be_kept_and_used_again(network, texts, frames):
    visual = network.visual_tokens(frames)
    before = visual.clone()
    first, second = (network.match(*texts, visual) for _ in range(2))
    assert (first == second).all()
    assert (visual == before).all()


def test_with_one_frame_rolling_and_its_order_change_nothing(network, texts, frames):
    still = frames[:, :1]
    other_order = torch.arange(TINY.num_patches).flip(0)
    first = network.fused(*texts, still)
    second = network.fused(*texts, still, other_order)
    torch.testing.assert_close(first.text, second.text, **CLOSE)


def test_only_the_fused_pass_sees_across_frames(texts, frames):
    network = make_tiny_network(dims=replace(TINY, is_distilled=True))  # no temporal embedding
    reversed_frames = frames.flip(1)
    with torch.inference_mode():
        torch.testing.assert_close(
            network.embed_video(frames), network.embed_video(reversed_frames), **CLOSE
        )
        forward, backward = (network.fused(*texts, f).pooled for f in (frames, reversed_frames))
    assert (forward - backward).abs().max() > 1e-3


def test_order_of_frames_reaches_the_video_embedding_if_tokens_roll_there(frames):
    network = make_tiny_network(dims=replace(TINY, is_distilled=True, rolls_unimodal=True))
    with torch.inference_mode():
        forward, backward = (network.embed_video(f) for f in (frames, frames.flip(1)))
    assert (forward - backward).abs().max() > 1e-3


def test_inputs_that_do_not_fit_are_refused(network, frames):
    with pytest.raises(ValueError, match="longer than 3"):
        network.embed_video(frames[:, [0, 1, 2, 0]])
    with pytest.raises(ValueError, match="4 patches does not fit 16"):
        network.embed_video(frames[..., :16, :16])
    with pytest.raises(ValueError, match="17 tokens is longer than 16"):
        network.embed_text(torch.ones(1, 17, dtype=torch.long), torch.ones(1, 17).bool())


@pytest.mark.parametrize(
    ("dims", "millions"), [(PUBLISHED_TINY, 17.36), (SMALL, 45.45), (BASE, 133.93)]
)
def test_published_sizes_have_the_published_number_of_parameters(dims, millions):
    with torch.device("meta"):
        network = assemble(replace(dims, has_projections=False))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(("given", "message"), [
    ({"width": 64, "depth": 0}, "depth must be positive"),
    ({"width": 64, "depth": 1, "heads": 3}, "not a multiple of heads"),
    ({"width": 64, "depth": 1, "frame_size": 30, "patch": 8}, "not a multiple of 8"),
    ({"width": 64, "depth": 1, "roll_order": "random"}, "raster or spread"),
])  # fmt: skip
def test_sizes_that_do_not_fit_together_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Dims(**given)


def test_temporal_embedding_is_cut_or_continued_with_zeros():
    table = torch.arange(1.0, 7).view(1, 3, 2)
    assert fit_temporal(table, 2).tolist() == [[[1, 2], [3, 4]]]
    assert fit_temporal(table, 4).tolist() == [[[1, 2], [3, 4], [5, 6], [0, 0]]]


def test_one_batch_can_be_overfitted(texts, frames):
    torch.manual_seed(0)
    network = build(TINY, temporal_init_std=0.02).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    ids, mask = (part[[0, 1, 2, 3, 1, 2, 3, 0]] for part in texts)
    clips = frames[[0, 1, 2, 3, 0, 1, 2, 3]]
    labels = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])
    for _ in range(MOST_STEPS):
        matching = matching_loss(network.match(ids, mask, network.visual_tokens(clips)), labels)
        contrast = contrastive_loss(network.embed_text(*texts), network.embed_video(frames))
        if max(matching.item(), contrast.item()) < OVERFITTED:
            break
        optimiser.zero_grad()
        (matching + contrast).backward()
        optimiser.step()
    assert matching.item() < OVERFITTED
    assert contrast.item() < OVERFITTED


def test_dropout_and_stochastic_depth_act_in_training_alone(texts):
    torch.manual_seed(0)
    network = build(TINY, dropout=0.1, drop_path=0.5)
    network.eval()
    first, second = (network.embed_text(*texts) for _ in range(2))
    assert (first == second).all()
    network.train()
    first, second = (network.embed_text(*texts) for _ in range(2))
    assert (first != second).any()


def test_state_dict_of_a_published_file_loads_with_its_position_ids():
    network = make_tiny_network()
    state = {**network.state_dict(), "text_embeddings.position_ids": torch.arange(16)[None]}
    assert str(network.load_state_dict(state)) == "<All keys matched successfully>"
