"""Give a trained network other heads, or more frames: what it has learned stays."""

from model.all_in_one.dims import Dims
from model.all_in_one.embeddings import fit_temporal
from model.all_in_one.network import AllInOne, build

TEMPORAL = "transformer.temporal_embed"


def rebuild(
    network: AllInOne, dims: Dims, *, dropout: float = 0.0, drop_path: float = 0.0
) -> AllInOne:
    """Return a network of other sizes that starts from the weights of this one.

    Heads that only the new network has get fresh weights, those that only the old one has are left
    behind. So a published checkpoint gets projections before it is tuned for retrieval, and joint
    heads come for training with Clover's objectives and go before the bundle is saved.

    Args:
        network: left alone.
        dims: of the new network.
        dropout: probability of dropout in training.
        drop_path: stochastic depth of the last block in training.

    Raises:
        ValueError: a weight has another shape in the new network.
    """
    rebuilt = build(dims, dropout=dropout, drop_path=drop_path)
    state = rebuilt.state_dict()
    for name, value in network.state_dict().items():
        if name not in state:
            continue
        kept = fit_temporal(value, dims.frames) if name == TEMPORAL else value
        if kept.shape != state[name].shape:
            wanted = tuple(state[name].shape)
            raise ValueError(f"{name} of shape {tuple(kept.shape)} does not fit {wanted}")
        state[name] = kept.detach().clone()
    rebuilt.load_state_dict(state)
    device = next(network.parameters()).device
    return rebuilt.to(device).train(network.training)
