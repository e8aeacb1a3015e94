"""Let clips settle where their texts are: the last layer of the clips' way, in closed form.

Where it is known what words mean, a text that training never saw lies near those it did. So the
nearer every clip comes to its own texts, the better it is found by others; the contrastive loss
alone is content long before, and steps of gradients take thousands of passes to get there. The last
layer is linear, so the best one is found at once, by ridge regression towards the trained one.
Shapes: B clips, C width, E joint space.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.data import pad
from model.trainable import TrainableBundle

HOLD = 0.01
"""How strongly the trained layer holds against the texts, as a share of one clip's features."""
LEAST_NORM = 1e-8


@torch.no_grad()
def settle(
    bundle: TrainableBundle, clips: Iterable[Tensor], captions: Sequence[Sequence[str]]
) -> None:
    """Move the embeddings of clips towards those of their texts, by the last layer alone.

    Args:
        bundle: whose network, an All-in-One with projections, is changed in place.
        clips: RGB frames of some clips at a time, uint8 (B, T, S, S, 3).
        captions: of each clip, in the same order.
    """
    network = cast("Any", bundle.network)
    was_training = network.training
    network.eval()
    layer: nn.Linear = network.vid_proj
    square, miss, count = _start(layer)
    for some in clips:
        told = captions[count : count + len(some)]
        features = _features(bundle, some)  # (B, C + 1)
        now = features @ _weights(layer)  # (B, E)
        wanted = _meeting_points(bundle, told) * now.norm(dim=-1, keepdim=True)
        square.add_(features.T @ features)
        miss.add_(features.T @ (wanted - now))
        count += len(some)
    hold = HOLD * square.trace() / max(1, count)
    held = square + hold * torch.eye(len(square), dtype=square.dtype, device=square.device)
    change = torch.linalg.solve(held, miss).T.to(layer.weight.dtype)  # (E, C + 1)
    layer.weight.add_(change[:, :-1])
    layer.bias.add_(change[:, -1])
    network.train(was_training)


def _start(layer: nn.Linear) -> tuple[Tensor, Tensor, int]:
    width, projection = layer.in_features + 1, layer.out_features
    square = torch.zeros(width, width, dtype=torch.float64, device=layer.weight.device)
    return square, square.new_zeros(width, projection), 0


def _weights(layer: nn.Linear) -> Tensor:
    """Return weights and bias as one matrix, float64 (C + 1, E)."""
    return torch.cat((layer.weight, layer.bias[:, None]), dim=1).T.double()


def _features(bundle: TrainableBundle, clips: Tensor) -> Tensor:
    """Return what the last layer reads of clips, and a one for its bias, float64 (B, C + 1)."""
    network = cast("Any", bundle.network)
    device = network.vid_proj.weight.device
    frames = bundle.preprocessing.normalise(clips.to(device))
    first = network.video_features(frames)[:, 0].double()  # (B, C)
    return functional.pad(first, (0, 1), value=1.0)


def _meeting_points(bundle: TrainableBundle, captions: Sequence[Sequence[str]]) -> Tensor:
    """Return where the texts of each clip lie on average, of unit norm, float64 (B, E)."""
    network = cast("Any", bundle.network)
    device = network.vid_proj.weight.device
    points = []
    for texts in captions:
        tokens = pad([one.ids for one in bundle.tokenizer.encode_batch(list(texts))]).to(device)
        points.append(network.embed_text(tokens.ids, tokens.mask).double().mean(dim=0))
    return functional.normalize(torch.stack(points), dim=-1, eps=LEAST_NORM)
