"""Fresh weights, for training from nothing, as published."""

import torch
from torch import nn

from model.clover.fusion import FusionEncoder
from model.clover.heads import ClipProjection, TextProjection
from model.clover.swin import VideoSwin, WindowAttention

INIT_STD = 0.02
POSITION_STD = 0.02
MODALITY_STD = 1.0
"""The published table of modalities is drawn as torch draws tables."""


@torch.no_grad()
def initialise(network: nn.Module, *, temporal_init_std: float = POSITION_STD) -> None:
    """Draw all matrices and tables of a network or of a part of one, in place.

    BERT's from normal(0, 0.02), the video encoder's from the same truncated, the projections'
    uniformly as Glorot and Bengio; the patches' as torch draws convolutions. Biases are zero.

    Args:
        network: what to initialise.
        temporal_init_std: spread of the fusion's temporal positions.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=INIT_STD)
    for module in network.modules():
        if isinstance(module, VideoSwin):
            _initialise_video(module)
        elif isinstance(module, FusionEncoder):
            nn.init.normal_(module.space_positions, std=POSITION_STD)
            nn.init.normal_(module.time_positions, std=temporal_init_std)
            nn.init.normal_(module.modality.weight, std=MODALITY_STD)
        elif isinstance(module, (ClipProjection, TextProjection)):
            nn.init.xavier_uniform_(module.fc1.weight)
            nn.init.xavier_uniform_(module.fc2.weight)


def _initialise_video(video: VideoSwin) -> None:
    nn.init.trunc_normal_(video.mask_token, std=INIT_STD)
    for module in video.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=INIT_STD)
        elif isinstance(module, WindowAttention):
            nn.init.trunc_normal_(module.relative_position_bias_table, std=INIT_STD)
