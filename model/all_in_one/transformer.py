"""The Vision Transformer that encodes words and patches alike.

Shapes: B clips or texts, T frames, N patches and P image tokens of a frame, S tokens of a
sequence, Q tokens that ask, C width.
"""

import torch
from torch import Tensor, nn

from model.all_in_one.blocks import VISION_NORM_EPS, Block
from model.all_in_one.embeddings import PatchEmbedding
from model.all_in_one.token_rolling import roll_tokens_


class VisionTransformer(nn.Module):
    """Patch embedding, positions and blocks. Which tokens they see is the network's business.

    The plain class adds a temporal embedding to the patches, never to cls. The distilled class
    has a second special token and leaves its temporal embedding unused.

    Args:
        width: feature width C.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_width: hidden width of a block's MLP.
        patch: side of a patch, pixels.
        num_patches: patches N of a frame.
        frames: rows of the temporal embedding.
        is_distilled: whether to build the distilled class.
        has_mask_token: whether patches can be hidden.
        num_rolled: image tokens of a frame that roll each way.
        dropout: probability after the positions and inside the blocks.
        drop_path: stochastic depth of the last block; it rises linearly from none in the first.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        patch: int,
        num_patches: int,
        frames: int,
        is_distilled: bool,
        has_mask_token: bool,
        num_rolled: int,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.num_special = 2 if is_distilled else 1
        self.num_rolled = num_rolled
        self.has_mask_token = has_mask_token
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_special + num_patches, width))
        self.temporal_embed = nn.Parameter(torch.zeros(1, frames, width))
        if is_distilled:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        if has_mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embed = PatchEmbedding(patch=patch, width=width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=heads,
                mlp_width=mlp_width,
                dropout=dropout,
                drop_path=drop_path * index / max(1, depth - 1),
            )
            for index in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=VISION_NORM_EPS)

    def embed_frames(
        self, frames: Tensor, order: Tensor | None, hidden: Tensor | None = None
    ) -> Tensor:
        """Return the tokens of each frame: the special ones, then its patches.

        Args:
            frames: normalised frames, (B, T, 3, S, S).
            order: raster index of the patch in each slot, int64 (N,) or one such row per frame,
                (B, T, N); None: raster order. Positions move with their patches.
            hidden: True for patches, in raster order, whose contents the mask token replaces in
                all frames, bool (B, N). Their positions stay.

        Returns:
            (B, T, P, C).

        Raises:
            ValueError: the clip is longer than the temporal embedding, or frames have another
                number of patches than the position table.
        """
        patches = self.patch_embed(frames)  # (B, T, N, C)
        clips, num_frames, num_patches, _ = patches.shape
        if num_frames > self.temporal_embed.shape[1]:
            limit = self.temporal_embed.shape[1]
            raise ValueError(f"a clip of {num_frames} frames is longer than {limit}")
        if num_patches != self.pos_embed.shape[1] - self.num_special:
            wanted = self.pos_embed.shape[1] - self.num_special
            raise ValueError(f"a frame of {num_patches} patches does not fit {wanted} positions")
        if hidden is not None:
            patches = torch.where(hidden[:, None, :, None], self.mask_token, patches)
        patches = patches + self.pos_embed[:, self.num_special :]
        if self.num_special == 1:
            patches = patches + self.temporal_embed[:, :num_frames, None]
        special = torch.cat(self.special_tokens(), dim=1)  # (1, 1 or 2, C)
        special = special + self.pos_embed[:, : self.num_special]
        special = special.expand(clips, num_frames, -1, -1)
        if order is not None:
            patches = _reorder(patches, order)
        tokens: Tensor = self.dropout(torch.cat((special, patches), dim=2))
        return tokens

    def encode(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        *,
        roll_from: int | None = None,
        num_queries: int | None = None,
    ) -> Tensor:
        """Send sequences through the blocks and average them over T.

        Args:
            tokens: (B, T, S, C); overwritten if they roll.
            mask: True where a key may be attended, bool (B, S); None: everywhere.
            roll_from: slot of the first image token if tokens roll before each block.
            num_queries: how many tokens Q the last block computes; None: all.

        Returns:
            features of the first Q tokens, or of all, (B, Q, C).
        """
        clips, frames = tokens.shape[:2]
        tokens = tokens.flatten(0, 1)  # (B T, S, C)
        if mask is not None:
            mask = mask.repeat_interleave(frames, dim=0)[:, None, None]  # (B T, 1, 1, S)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            if roll_from is not None:
                by_clip = tokens.unflatten(0, (clips, frames))
                roll_tokens_(by_clip, start=roll_from, count=self.num_rolled)
            tokens = block(tokens, mask, num_queries if index == last else None)
        normed: Tensor = self.norm(tokens)
        features: Tensor = normed.unflatten(0, (clips, frames)).mean(dim=1)
        return features

    def special_tokens(self) -> tuple[Tensor, ...]:
        """Return the learned tokens that stand before the patches, each (1, 1, C)."""
        if self.num_special == 1:
            return (self.cls_token,)
        return (self.cls_token, self.dist_token)


def _reorder(patches: Tensor, order: Tensor) -> Tensor:
    """Put patch `order[s]` of each frame into slot s, (B, T, N, C)."""
    if order.ndim == 1:
        return patches.index_select(2, order)
    return patches.gather(2, order[..., None].expand_as(patches))
