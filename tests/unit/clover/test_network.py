"""Clover's passes on a tiny network: what may change their results, and what may not."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from model.clover.dims import CLOVER_BASE, CLOVER_SMALL, CloverDims
from model.clover.network import assemble, build
from model.objectives.clover import TriModal, clover_losses
from model.objectives.focal import focal_masked_language_loss
from model.objectives.matching import matching_loss
from model.passes import VideoTextNetwork
from model.recompute import recompute_blocks
from model.tube_masking import tube_masks
from tests.factories_clover import TINY_CLOVER, make_tiny_clover

CLOSE = {"atol": 2e-5, "rtol": 0}
GRID = TINY_CLOVER.mask_grid


@pytest.fixture(scope="module")
def network():
    return make_tiny_clover().requires_grad_(requires_grad=False)


@pytest.fixture
def texts():
    ids = torch.randint(1, 50, (4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([9, 3, 6, 2])[:, None]
    return ids * mask, mask


@pytest.fixture
def frames():
    return torch.randn(4, 4, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def hidden():
    """Other cells of each clip."""
    return torch.eye(4, dtype=torch.bool).view(4, GRID, GRID)


def test_it_is_what_training_asks_for():
    network: VideoTextNetwork = make_tiny_clover()
    assert network.mask_grid == GRID == 2


def test_published_sizes():
    with torch.device("meta"):
        network = assemble(CLOVER_BASE)
    count = {name: sum(p.numel() for p in m.parameters()) for name, m in network.named_children()}
    table = (512 - CLOVER_BASE.max_text_tokens) * 768  # of positions that no text reaches
    pooler = count["pooler"]  # the published text encoder has one that nothing reads
    assert round(count["video"] / 1e6, 2) == 87.64
    assert round((count["text"] + table + pooler) / 1e6, 2) == 109.48
    unused = (30522 + 512 + 2 + 2) * 768  # the published fusion has tables of words
    assert round((count["fusion"] + unused) / 1e6, 2) == 45.93
    assert round((count["video_proj"] + count["text_proj"]) / 1e6, 2) == 3.94
    assert round(count["joint_video_head"] / 1e6, 2) == 2.37
    assert round(count["joint_text_head"] / 1e6, 2) == 1.18
    assert round(count["mlm_head"] / 1e6, 2) == 24.06
    assert CLOVER_BASE.mask_grid == CLOVER_BASE.final_grid == 7


def test_embeddings_have_length_one(network, texts, frames):
    for embeddings in (network.embed_text(*texts), network.embed_video(frames)):
        assert embeddings.shape == (4, TINY_CLOVER.projection)
        assert embeddings.norm(dim=1) == pytest.approx(1, abs=1e-5)


def test_tokens_give_the_embeddings_of_texts_and_clips(network, texts, frames):
    words, visual = network.text_tokens(*texts), network.visual_tokens(frames)
    found = network.embed_words(words, texts[1]), network.embed_visual(visual)
    torch.testing.assert_close(found[0], network.embed_text(*texts), **CLOSE)
    torch.testing.assert_close(found[1], network.embed_video(frames), **CLOSE)


def test_matching_reads_the_fused_cls(network, texts, frames):
    words, visual = network.text_tokens(*texts), network.visual_tokens(frames)
    fused = network.join(words, texts[1], visual)
    found = network.match(words, texts[1], visual)
    torch.testing.assert_close(found, network.match_logits(fused), **CLOSE)
    assert fused.text.shape == (4, 9, TINY_CLOVER.width)
    assert fused.image.shape == (4, TINY_CLOVER.steps * TINY_CLOVER.final_grid**2, 48)
    torch.testing.assert_close(network.pooler(fused.text[:, 0]), fused.pooled, **CLOSE)


def test_padding_of_texts_changes_nothing(network, texts, frames):
    ids, mask = texts
    visual = network.visual_tokens(frames)
    whole = network.join(network.text_tokens(ids, mask), mask, visual)
    embedded = network.embed_text(ids, mask)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        short = ids[row : row + 1, :length], mask[row : row + 1, :length]
        words = network.text_tokens(*short)
        fused = network.join(words, short[1], visual[row : row + 1])
        torch.testing.assert_close(network.embed_text(*short)[0], embedded[row], **CLOSE)
        torch.testing.assert_close(fused.text[0], whole.text[row, :length], **CLOSE)
        torch.testing.assert_close(fused.image[0], whole.image[row], **CLOSE)


def test_a_row_does_not_see_the_others_of_its_batch(network, texts, frames):
    ids, mask = texts
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        network.embed_video(frames[order]), network.embed_video(frames)[order], **CLOSE
    )
    torch.testing.assert_close(
        network.embed_text(ids[order], mask[order]), network.embed_text(ids, mask)[order], **CLOSE
    )


def test_what_is_hidden_cannot_be_seen(network, frames, hidden):
    pixels = hidden.repeat_interleave(32 // GRID, 1).repeat_interleave(32 // GRID, 2)
    changed = torch.where(pixels[:, None, None], torch.randn_like(frames), frames)
    assert (changed != frames).any()
    before, after = (network.visual_tokens(given, hidden) for given in (frames, changed))
    torch.testing.assert_close(before, after, **CLOSE)
    assert (network.visual_tokens(changed) - network.visual_tokens(frames)).abs().max() > 0.1
    assert (network.visual_tokens(frames) - before).abs().max() > 0.1


def test_hiding_nothing_changes_nothing(network, frames):
    nothing = torch.zeros(4, GRID, GRID, dtype=torch.bool)
    assert (network.visual_tokens(frames, nothing) == network.visual_tokens(frames)).all()


def test_the_order_of_time_counts(network, texts, frames):
    turned = frames.flip(1)
    similarity = (network.embed_video(frames) * network.embed_video(turned)).sum(dim=1)
    assert similarity.max() < 0.999
    words = network.text_tokens(*texts)
    forward, backward = (
        network.match(words, texts[1], network.visual_tokens(given)) for given in (frames, turned)
    )
    assert (forward - backward).abs().max() > 1e-3


def test_long_clips_are_embedded_but_not_fused(network, texts):
    frames = torch.randn(4, 7, 3, 32, 32)
    visual = network.visual_tokens(frames)
    assert visual.shape == (4, 4, 4, 4, TINY_CLOVER.video_width)
    assert network.embed_visual(visual).shape == (4, TINY_CLOVER.projection)
    with pytest.raises(ValueError, match="4 steps in time cannot be fused: there are positions"):
        network.join(network.text_tokens(*texts), texts[1], visual)


def test_frames_of_another_size_are_embedded_but_not_fused(network, texts):
    visual = network.visual_tokens(torch.randn(4, 4, 3, 35, 33))  # 9 x 9 patches, then 5 x 5
    assert network.embed_visual(visual).shape == (4, TINY_CLOVER.projection)
    with pytest.raises(ValueError, match="25 places of a frame do not fit 16 positions"):
        network.join(network.text_tokens(*texts), texts[1], visual)


def test_a_text_longer_than_the_positions_is_refused(network):
    ids = torch.ones(1, TINY_CLOVER.max_text_tokens + 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="17 tokens is longer than 16"):
        network.text_tokens(ids, ids > 0)


def _pre_training_loss(network, texts, frames, hidden):
    """All of Clover's objectives and ours; the words named are those of the texts themselves."""
    ids, mask = texts
    hidden_ids = ids.where(ids % 3 > 0, 4)
    words, masked_words = network.text_tokens(ids, mask), network.text_tokens(hidden_ids, mask)
    visual, masked_visual = network.visual_tokens(frames), network.visual_tokens(frames, hidden)
    video_fused = network.join(words, mask, masked_visual)
    text_fused = network.join(masked_words, mask, visual)
    losses = clover_losses(
        TriModal(
            video=network.embed_visual(visual),
            text=network.embed_words(words, mask),
            masked_text=network.embed_words(masked_words, mask),
            joint_video=network.joint_video(video_fused),
            joint_text=network.joint_text(text_fused),
            masked_video=network.embed_visual(masked_visual),
        )
    )
    labels = ids.where((ids != hidden_ids) & mask, -100)
    named = focal_masked_language_loss(network.mlm_logits(text_fused.text), labels)
    other = network.join(words.roll(1, 0), mask.roll(1, 0), visual)
    right = network.join(words, mask, visual)
    logits = torch.cat((network.match_logits(right), network.match_logits(other)))
    matched = matching_loss(logits, torch.tensor([1] * len(ids) + [0] * len(ids)))
    return sum(losses.values()) + named + matched


def test_every_parameter_learns(texts, frames, hidden):
    network = make_tiny_clover().train()
    _pre_training_loss(network, texts, frames, hidden).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_one_batch_can_be_overfitted(texts, frames, hidden):
    torch.manual_seed(0)
    network = build(TINY_CLOVER).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        loss = _pre_training_loss(network, texts, frames, hidden)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with torch.inference_mode():
        similarity = network.eval().embed_text(*texts) @ network.embed_video(frames).T
    assert similarity.argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_recomputed_blocks_give_the_same_gradients(texts, frames, hidden):
    gradients = []
    for is_recomputed in (False, True):
        torch.manual_seed(3)
        network = build(TINY_CLOVER, dropout=0.1, drop_path=0.2).train()
        if is_recomputed:
            blocks = sum(TINY_CLOVER.depths) + TINY_CLOVER.text_depth + TINY_CLOVER.fusion_depth
            assert recompute_blocks(network) == blocks
        torch.manual_seed(4)
        _pre_training_loss(network, texts, frames, hidden).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_dropout_and_skipped_blocks_are_for_training_alone(texts, frames):
    network = build(TINY_CLOVER, dropout=0.5, drop_path=0.5)
    network.train()
    assert (network.embed_video(frames) != network.embed_video(frames)).any()
    assert (network.text_tokens(*texts) != network.text_tokens(*texts)).any()
    network.eval()
    assert (network.embed_video(frames) == network.embed_video(frames)).all()
    assert (network.text_tokens(*texts) == network.text_tokens(*texts)).all()


def test_stochastic_depth_rises_from_block_to_block():
    network = build(replace(TINY_CLOVER, depths=(2, 3)), drop_path=0.2)
    blocks = [block for stage in network.video.layers for block in stage.blocks]
    rates = [block.drop_path.probability for block in blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_fresh_weights_are_drawn_as_published():
    torch.manual_seed(0)
    network = build(replace(TINY_CLOVER, width=192, embed_width=64))
    spread = {
        "text.layers.0.fc1.weight": 0.02,
        "text.embeddings.word_embeddings.weight": 0.02,
        "video.layers.0.blocks.0.mlp.fc1.weight": 0.02,
        "video.layers.0.blocks.0.attn.relative_position_bias_table": 0.02,
        "video.mask_token": 0.02,
        "fusion.space_positions": 0.02,
        "fusion.time_positions": 0.02,
        "fusion.modality.weight": 1.0,
        "text_proj.fc1.weight": (2 / (192 + 192)) ** 0.5,
        "joint_video_head.fc1.weight": (2 / (192 + 64)) ** 0.5,
    }
    state = network.state_dict()
    for name, wanted in spread.items():
        assert state[name].std() == pytest.approx(wanted, rel=0.15), name
    for module in network.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            assert not module.bias.any()


@pytest.mark.parametrize(("values", "message"), [
    ({"depths": ()}, "depths is (), not a list of numbers"),
    ({"depths": (2, 0)}, "holds 0, which is no positive whole number"),
    ({"depths": (1,) * 9}, "depths of 9 stages are over 6"),
    ({"heads": (2, 2.5)}, "holds 2.5, which is no positive whole number"),
    ({"heads": (2,)}, "heads (2,) are not those of 2 stages"),
    ({"heads": (2, 5)}, "width 32 of a stage is not a multiple of its 5 heads"),
    ({"window": (2, 4)}, "window (2, 4) is not one of time, height and width"),
    ({"text_heads": 5}, "width 48 is not a multiple of heads 5"),
    ({"width": 0}, "width must be positive, not 0"),
    ({"mask_grid": 9}, "mask_grid 9 does not fit 8 patches"),
    ({"has_projections": False}, "joint heads need the projections"),
])  # fmt: skip
def test_sizes_that_do_not_fit_together_are_refused(values, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        replace(TINY_CLOVER, **values)


def test_the_small_network_reads_frames_of_64_px():
    network = build(CLOVER_SMALL).eval()
    hidden = tube_masks(2, grid=network.mask_grid)
    with torch.inference_mode():
        visual = network.visual_tokens(torch.randn(2, 4, 3, 64, 64), hidden)
    assert visual.shape == (2, 2, 2, 2, CLOVER_SMALL.video_width)
    assert isinstance(CLOVER_SMALL, CloverDims)
    assert CLOVER_SMALL.mask_grid == 4
