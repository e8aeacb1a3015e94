"""The encoder that joins words and clips.

Shapes: B pairs, L text tokens, T' moments and H' by W' places of the video features, P = T' H' W',
C width, Q tokens that are wanted.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.embeddings import empty_table
from model.clover.bert import BertBlock, run_blocks

IMAGE, TEXT = 0, 1
"""Rows of the modality table."""


class FusionEncoder(nn.Module):
    """Blocks of BERT over words and video features together.

    The sequence holds the words first, then the clip in the order of time. The published code has
    them the other way round, which changes nothing: positions are part of the tokens.

    Args:
        video_width: width of the video features.
        width: feature width C.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_width: hidden width of a block's MLP.
        steps: rows of the temporal position table: the largest T'.
        places: rows of the spatial position table: H' W'.
        dropout: probability of dropout.
    """

    def __init__(
        self,
        *,
        video_width: int,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        steps: int,
        places: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.fc_in = nn.Linear(video_width, width)
        self.space_positions = nn.Parameter(torch.zeros(1, 1, places, width))
        self.time_positions = nn.Parameter(torch.zeros(1, steps, 1, width))
        self.modality = empty_table(2, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            BertBlock(width=width, heads=heads, mlp_width=mlp_width, dropout=dropout)
            for _ in range(depth)
        )

    def forward(
        self, words: Tensor, mask: Tensor, visual: Tensor, num_queries: int | None = None
    ) -> Tensor:
        """Return the features of words, then of the clip, (B, L + P, C), or of the first Q.

        Args:
            words: features of words, (B, L, C).
            mask: True where a real token stands, bool (B, L).
            visual: features of clips, (B, T', H', W', Cv).
            num_queries: Q; None: all.

        Raises:
            ValueError: the clip is longer or larger than the position tables.
        """
        text = words + self.modality.weight[TEXT]
        tokens = torch.cat((text, self._place(visual).to(text.dtype)), dim=1)  # (B, L + P, C)
        mask = functional.pad(mask, (0, tokens.shape[1] - mask.shape[1]), value=True)
        return run_blocks(self.layers, tokens, mask, num_queries)

    def _place(self, visual: Tensor) -> Tensor:
        """Give video features their positions, (B, P, C)."""
        steps, places = self.time_positions.shape[1], self.space_positions.shape[2]
        visual = visual.flatten(2, 3)  # (B, T', H' W', Cv)
        if visual.shape[1] > steps:
            raise ValueError(
                f"a clip of {visual.shape[1]} steps in time cannot be fused: there are positions "
                f"for {steps}; choose fewer frames"
            )
        if visual.shape[2] != places:
            raise ValueError(f"{visual.shape[2]} places of a frame do not fit {places} positions")
        tokens = self.fc_in(visual) + self.space_positions + self.modality.weight[IMAGE]
        tokens = tokens + self.time_positions[:, : visual.shape[1]]
        placed: Tensor = self.norm(tokens.flatten(1, 2))
        return placed
