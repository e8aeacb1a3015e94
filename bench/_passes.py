"""What is timed: the passes that serving runs, one training step, and what they cost on paper."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.all_in_one.dims import BASE, SMALL, TINY, Dims
from model.all_in_one.network import AllInOne
from model.all_in_one.network import build as build_all_in_one
from model.clover.dims import CLOVER_BASE, CLOVER_SMALL, CloverDims
from model.clover.network import Clover
from model.clover.network import build as build_clover
from model.objectives.contrastive import contrastive_loss
from model.objectives.matching import matching_loss

AnyDims = Dims | CloverDims
SIZES: dict[str, AnyDims] = {
    "tiny": TINY,
    "small": SMALL,
    "base": BASE,
    "clover-small": CLOVER_SMALL,
    "clover-base": CLOVER_BASE,
}
GIGA = 1e9
Run = Callable[[], Tensor]


def build(dims: AnyDims) -> AllInOne | Clover:
    """Build a network with fresh weights."""
    return build_clover(dims) if isinstance(dims, CloverDims) else build_all_in_one(dims)


class Inputs:
    """Random pairs of full length, which cost what real ones cost.

    Args:
        dims: sizes of the network.
        batch: number of pairs B.
        device: where they are.
        frames_dtype: type of the frames.
    """

    def __init__(
        self, dims: AnyDims, batch: int, device: str, frames_dtype: torch.dtype = torch.float32
    ) -> None:
        shape = (batch, dims.max_text_tokens)
        self.ids = torch.randint(dims.vocabulary, shape, device=device)
        self.mask = torch.ones(shape, dtype=torch.bool, device=device)
        side = dims.frame_size
        clips = torch.randn(batch, dims.frames, 3, side, side, device=device)
        self.frames = clips.to(frames_dtype)


def match(network: AllInOne | Clover, inputs: Inputs, visual: Tensor) -> Tensor:
    """Return the matching logits of each text with one clip, (B, 2)."""
    if isinstance(network, Clover):
        return network.match(network.text_tokens(inputs.ids, inputs.mask), inputs.mask, visual)
    return network.match(inputs.ids, inputs.mask, visual)


def serving_passes(network: AllInOne | Clover, inputs: Inputs) -> dict[str, Run]:
    """Return the passes that serving and ingest run; the last block is computed for CLS alone."""
    ids, mask, frames = inputs.ids, inputs.mask, inputs.frames
    return {
        "text": lambda: network.embed_text(ids, mask),
        "video": lambda: network.embed_video(frames),
        "fused": lambda: match(network, inputs, network.visual_tokens(frames)),
    }


def training_loss(network: AllInOne | Clover, inputs: Inputs) -> Tensor:
    """Return the contrastive and the matching loss of a batch of pairs, a scalar.

    The dual stream reads every pair; the fused pass reads each text with one clip, which for
    half of the batch is another pair's.
    """
    ids, mask, frames = inputs.ids, inputs.mask, inputs.frames
    texts, videos = network.embed_text(ids, mask), network.embed_video(frames)
    is_true = torch.arange(len(ids), device=ids.device) < (len(ids) + 1) // 2
    rows = torch.arange(len(ids), device=ids.device)
    clips = torch.where(is_true, rows, rows.roll(1))
    logits = match(network, inputs, network.visual_tokens(frames)[clips])
    return contrastive_loss(texts, videos) + matching_loss(logits, is_true)


def make_step(
    network: AllInOne | Clover, inputs: Inputs, loss_of: Callable[..., Tensor], *, is_half: bool
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


def count_gmac(run: Callable[[], object]) -> float:
    """Return the multiply-adds of one run, in thousand millions.

    Attention is counted as the products that it stands for, whatever kernel computes it; what is
    computed again to save memory is not counted, as nothing here is.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops() / 2 / GIGA


def count_passes(dims: AnyDims) -> dict[str, float]:
    """Return the multiply-adds for one item of each pass and one pair of a training step.

    Counted on the meta device: shapes without numbers, so it costs nothing.
    """
    with torch.device("meta"):
        network = build(dims)
        one, two = Inputs(dims, 1, "meta"), Inputs(dims, 2, "meta")
        counted = {name: count_gmac(run) for name, run in serving_passes(network, one).items()}
        counted["train"] = count_gmac(lambda: training_loss(network, two).backward()) / 2
    return counted
