"""Give a trained network other heads, or longer clips to fuse: what it has learned stays."""

import torch

from model.clover.dims import CloverDims
from model.clover.network import Clover, build

TIME = "fusion.time_positions"


def rebuild(
    network: Clover, dims: CloverDims, *, dropout: float = 0.0, drop_path: float = 0.0
) -> Clover:
    """Return a network of other sizes that starts from the weights of this one.

    Heads that only the new network has get fresh weights, those that only the old one has are left
    behind. The first positions in time stay, further ones are drawn.

    Args:
        network: left alone.
        dims: of the new network.
        dropout: probability of dropout in training.
        drop_path: stochastic depth of the video encoder's last block in training.

    Raises:
        ValueError: a weight has another shape in the new network.
    """
    rebuilt = build(dims, dropout=dropout, drop_path=drop_path)
    state = rebuilt.state_dict()
    for name, value in network.state_dict().items():
        if name not in state:
            continue
        kept = value.detach().to("cpu")
        if name == TIME:
            kept = torch.cat((kept, state[name][:, kept.shape[1] :]), dim=1)[:, : dims.steps]
        if kept.shape != state[name].shape:
            wanted = tuple(state[name].shape)
            raise ValueError(f"{name} of shape {tuple(kept.shape)} does not fit {wanted}")
        state[name] = kept.clone()
    rebuilt.load_state_dict(state)
    device = next(network.parameters()).device
    return rebuilt.to(device).train(network.training)
