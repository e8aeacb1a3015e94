"""What is timed: the passes that serving runs, one training step, and what they cost on paper."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.all_in_one.dims import BASE, SMALL, TINY, Dims
from model.all_in_one.network import AllInOne, build
from model.objectives.contrastive import contrastive_loss
from model.objectives.matching import matching_loss

SIZES = {"tiny": TINY, "small": SMALL, "base": BASE}
GIGA = 1e9
Run = Callable[[], Tensor]


class Inputs:
    """Random pairs of full length, which cost what real ones cost.

    Args:
        dims: sizes of the network.
        batch: number of pairs B.
        device: where they are.
        frames_dtype: type of the frames.
    """

    def __init__(
        self, dims: Dims, batch: int, device: str, frames_dtype: torch.dtype = torch.float32
    ) -> None:
        shape = (batch, dims.max_text_tokens)
        self.ids = torch.randint(dims.vocabulary, shape, device=device)
        self.mask = torch.ones(shape, dtype=torch.bool, device=device)
        side = dims.frame_size
        clips = torch.randn(batch, dims.frames, 3, side, side, device=device)
        self.frames = clips.to(frames_dtype)


def serving_passes(network: AllInOne, inputs: Inputs) -> dict[str, Run]:
    """Return the passes that serving and ingest run; the last block is computed for CLS alone."""
    ids, mask, frames = inputs.ids, inputs.mask, inputs.frames
    return {
        "text": lambda: network.embed_text(ids, mask),
        "video": lambda: network.embed_video(frames),
        "fused": lambda: network.match(ids, mask, network.visual_tokens(frames)),
    }


def training_loss(network: AllInOne, inputs: Inputs) -> Tensor:
    """Return the contrastive and the matching loss of a batch of pairs, a scalar.

    The dual stream reads every pair; the fused pass reads each text with one clip, which for
    half of the batch is another pair's.
    """
    ids, mask, frames = inputs.ids, inputs.mask, inputs.frames
    texts, videos = network.embed_text(ids, mask), network.embed_video(frames)
    is_true = torch.arange(len(ids), device=ids.device) < (len(ids) + 1) // 2
    rows = torch.arange(len(ids), device=ids.device)
    clips = torch.where(is_true, rows, rows.roll(1))
    logits = network.match(ids, mask, network.visual_tokens(frames)[clips])
    return contrastive_loss(texts, videos) + matching_loss(logits, is_true)


def make_step(
    network: AllInOne, inputs: Inputs, loss_of: Callable[..., Tensor], *, is_half: bool
) -> Run:
    """Return one whole training step: forward, backward, AdamW.

    Args:
        network: trained in place.
        inputs: a batch of pairs.
        loss_of: `training_loss`, or that compiled.
        is_half: matrices are multiplied in bfloat16.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def step() -> Tensor:
        with torch.autocast(inputs.ids.device.type, torch.bfloat16, enabled=is_half):
            loss = loss_of(network, inputs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def count_gmac(run: Run) -> float:
    """Return the multiply-adds of one run, in thousand millions.

    Attention is counted as the products that it stands for, whatever kernel computes it; what is
    computed again to save memory is not counted, as nothing here is.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops() / 2 / GIGA


def count_passes(dims: Dims) -> dict[str, float]:
    """Return the multiply-adds for one item of each pass and one pair of a training step.

    Counted on the meta device: shapes without numbers, so it costs nothing.
    """
    with torch.device("meta"):
        network = build(dims)
        one, two = Inputs(dims, 1, "meta"), Inputs(dims, 2, "meta")
        counted = {name: count_gmac(run) for name, run in serving_passes(network, one).items()}
        counted["train"] = count_gmac(lambda: _backward(training_loss(network, two))) / 2
    return counted


def _backward(loss: Tensor) -> Tensor:
    loss.backward()
    return loss


def num_parameters(network: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(value.numel() for value in network.parameters())
