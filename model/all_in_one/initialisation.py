"""Fresh weights, for training from nothing."""

import torch
from torch import nn

from model.all_in_one.heads import JointTextHead, JointVideoHead
from model.all_in_one.transformer import VisionTransformer

INIT_STD = 0.02


@torch.no_grad()
def initialise(network: nn.Module, *, temporal_init_std: float) -> None:
    """Draw matrices and tables from normal(0, 0.02), truncated inside the transformer.

    The joint heads are Clover's and drawn as there: uniformly, by the widths of their layers.

    Args:
        network: what to initialise, in place.
        temporal_init_std: spread of the temporal embedding; 0 leaves it at zero, as published.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=INIT_STD)
    for module in network.modules():
        if isinstance(module, VisionTransformer):
            _initialise_transformer(module, temporal_init_std=temporal_init_std)
        elif isinstance(module, JointVideoHead | JointTextHead):
            for layer in (module.fc1, module.fc2):
                nn.init.xavier_uniform_(layer.weight)


def _initialise_transformer(transformer: VisionTransformer, *, temporal_init_std: float) -> None:
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=INIT_STD)
    for table in (*transformer.special_tokens(), transformer.pos_embed):
        nn.init.trunc_normal_(table, std=INIT_STD)
    if transformer.has_mask_token:
        nn.init.trunc_normal_(transformer.mask_token, std=INIT_STD)
    if temporal_init_std:
        nn.init.normal_(transformer.temporal_embed, std=temporal_init_std)
