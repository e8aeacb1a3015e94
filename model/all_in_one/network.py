"""All-in-One (arXiv:2203.07303): one transformer for text, video, and both together.

Shapes: B pairs, L text tokens, T frames, S frame side, N patches and P image tokens of a frame,
C width, E joint space, V vocabulary.

A clip is T sequences that never attend to each other; time enters through the temporal embedding
and, in the fused pass, through token rolling. Features are the mean over T after the last norm.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.dims import Dims, RollOrder
from model.all_in_one.embeddings import TextEmbeddings, empty_table
from model.all_in_one.heads import MaskedLanguageHead, MatchingHead, Pooler
from model.all_in_one.initialisation import initialise
from model.all_in_one.token_rolling import roll_tokens_, spread_order
from model.all_in_one.transformer import VisionTransformer
from model.passes import Fused

COSINE_EPS = 1e-8
TEXT, IMAGE = 0, 1
"""Rows of the modality table."""


class AllInOne(nn.Module):
    """The unified backbone and its heads. Parameters are named as in the published files.

    Args:
        width: feature width C.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_width: hidden width of a block's MLP.
        patch: side of a patch, pixels.
        grid: patches along one side of a frame; N is its square.
        frames: longest clip T.
        max_text_tokens: longest text L.
        vocabulary: number of words V.
        projection: width E of the joint space; 0: no projections.
        is_distilled: the class with a second special token and no temporal position.
        has_matching_head: whether pairs can be matched.
        has_mlm_head: whether hidden words can be named.
        num_rolled: image tokens that roll each way before each block.
        roll_order: which patches these are.
        rolls_unimodal: tokens roll in the video-only pass too.
        dropout: probability of dropout; the published recipes use 0.1.
        drop_path: stochastic depth of the last block; the published recipes use 0.1.
    """

    slot_order: Tensor | None

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        patch: int,
        grid: int,
        frames: int,
        max_text_tokens: int,
        vocabulary: int,
        projection: int,
        is_distilled: bool,
        has_matching_head: bool,
        has_mlm_head: bool,
        num_rolled: int,
        roll_order: RollOrder,
        rolls_unimodal: bool,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_rolled = num_rolled
        self.rolls_unimodal = rolls_unimodal
        order = spread_order(grid=grid, count=num_rolled) if roll_order == "spread" else None
        self.register_buffer("slot_order", order, persistent=False)
        self.text_embeddings = TextEmbeddings(
            vocabulary=vocabulary, max_tokens=max_text_tokens, width=width, dropout=dropout
        )
        self.token_type_embeddings = empty_table(2, width)
        self.transformer = VisionTransformer(
            width=width,
            depth=depth,
            heads=heads,
            mlp_width=mlp_width,
            patch=patch,
            num_patches=grid**2,
            frames=frames,
            is_distilled=is_distilled,
            dropout=dropout,
            drop_path=drop_path,
        )
        self.pooler = Pooler(width=width)
        if has_mlm_head:
            self.mlm_score = MaskedLanguageHead(width=width, vocabulary=vocabulary)
        if has_matching_head:
            self.itm_score = MatchingHead(width=width)
        if projection:
            self.txt_proj = nn.Linear(width, projection)
            self.vid_proj = nn.Linear(width, projection)

    def text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the features of words without a clip, (B, L, C).

        Args:
            ids: token ids, int64 (B, L).
            mask: True where a real token stands, bool (B, L).
        """
        return self._text_only(ids, mask, num_queries=None)

    def video_features(self, frames: Tensor) -> Tensor:
        """Return the features of image tokens without a text, (B, P, C).

        Args:
            frames: normalised frames, (B, T, 3, S, S).
        """
        return self._video_only(frames, num_queries=None)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the unit-norm embeddings of texts, (B, E). Arguments as in `text_features`."""
        first = self._text_only(ids, mask, num_queries=1)[:, 0]  # (B, C)
        return functional.normalize(self.txt_proj(first).float(), dim=-1, eps=COSINE_EPS)

    def embed_video(self, frames: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips, (B, E). Arguments as in `video_features`."""
        first = self._video_only(frames, num_queries=1)[:, 0]  # (B, C)
        return functional.normalize(self.vid_proj(first).float(), dim=-1, eps=COSINE_EPS)

    def fused(
        self, ids: Tensor, mask: Tensor, frames: Tensor, permutation: Tensor | None = None
    ) -> Fused:
        """Run texts and clips together.

        Args:
            ids: token ids, int64 (B, L).
            mask: True where a real token stands, bool (B, L).
            frames: normalised frames, (B, T, 3, S, S).
            permutation: raster index of the patch in each slot, int64 (N,) or (B, T, N), in place
                of the configured order.
        """
        return self.fuse(ids, mask, self.visual_tokens(frames, permutation))

    def visual_tokens(self, frames: Tensor, permutation: Tensor | None = None) -> Tensor:
        """Return what the fused pass needs of clips, (B, T, P, C); it can be kept and reused.

        Arguments as in `fused`.
        """
        order = self.slot_order if permutation is None else permutation
        return self.transformer.embed_frames(frames, order) + self._modality(IMAGE)

    def fuse(self, ids: Tensor, mask: Tensor, visual: Tensor) -> Fused:
        """Run texts together with clips that went through `visual_tokens`."""
        length = ids.shape[1]
        features = self._fuse(ids, mask, visual, num_queries=None)  # (B, L + P, C)
        return Fused(
            text=features[:, :length],
            image=features[:, length:],
            pooled=self.pooler(features[:, 0]),
        )

    def match_logits(self, fused: Fused) -> Tensor:
        """Return the matching logits of pairs, (B, 2); class 1 = the text belongs to the clip."""
        logits: Tensor = self.itm_score(fused.pooled)
        return logits

    def match(self, ids: Tensor, mask: Tensor, visual: Tensor) -> Tensor:
        """Return the matching logits (B, 2) alone: the last block is computed for CLS only.

        Arguments as in `fuse`, the result is that of `match_logits`.
        """
        logits: Tensor = self.itm_score(self.pool(ids, mask, visual))
        return logits

    def pool(self, ids: Tensor, mask: Tensor, visual: Tensor) -> Tensor:
        """Return the pooled first token alone, (B, C). Arguments as in `fuse`."""
        first = self._fuse(ids, mask, visual, num_queries=1)[:, 0]  # (B, C)
        pooled: Tensor = self.pooler(first)
        return pooled

    def rank_score(self, fused: Fused) -> Tensor:
        """Return the score that ranks texts for a clip, (B,): row 1 of the matching head."""
        return self.match_logits(fused)[:, 1]

    def mlm_logits(self, features: Tensor) -> Tensor:
        """Return logits over the vocabulary for text features (..., C): (..., V)."""
        logits: Tensor = self.mlm_score(features)
        return logits

    def _modality(self, row: int) -> Tensor:
        return self.token_type_embeddings.weight[row]

    def _text_tokens(self, ids: Tensor) -> Tensor:
        tokens: Tensor = self.text_embeddings(ids) + self._modality(TEXT)
        return tokens  # (B, L, C)

    def _text_only(self, ids: Tensor, mask: Tensor, *, num_queries: int | None) -> Tensor:
        tokens = self._text_tokens(ids)[:, None]  # (B, 1, L, C)
        return self._run(tokens, mask, roll_from=None, num_queries=num_queries)

    def _video_only(self, frames: Tensor, *, num_queries: int | None) -> Tensor:
        if self.rolls_unimodal:
            visual = self.visual_tokens(frames)
            return self._run(visual, None, roll_from=0, num_queries=num_queries)
        visual = self.transformer.embed_frames(frames, None) + self._modality(IMAGE)
        return self._run(visual, None, roll_from=None, num_queries=num_queries)

    def _fuse(
        self, ids: Tensor, mask: Tensor, visual: Tensor, *, num_queries: int | None
    ) -> Tensor:
        text = self._text_tokens(ids)[:, None].expand(-1, visual.shape[1], -1, -1)  # (B, T, L, C)
        tokens = torch.cat((text, visual), dim=2)  # (B, T, L + P, C)
        mask = functional.pad(mask, (0, visual.shape[2]), value=True)  # (B, L + P)
        return self._run(tokens, mask, roll_from=ids.shape[1], num_queries=num_queries)

    def _run(
        self, tokens: Tensor, mask: Tensor | None, *, roll_from: int | None, num_queries: int | None
    ) -> Tensor:
        """Send sequences through the blocks and average them over T.

        Args:
            tokens: (B, T, S, C).
            mask: True where a key may be attended, bool (B, S); None: everywhere.
            roll_from: slot of the first image token if tokens roll before each block.
            num_queries: how many tokens the last block computes; None: all.

        Returns:
            features of the first `num_queries` tokens, or of all, (B, S, C).
        """
        clips, frames = tokens.shape[:2]
        tokens = tokens.flatten(0, 1)  # (B T, S, C)
        if mask is not None:
            mask = mask.repeat_interleave(frames, dim=0)[:, None, None]  # (B T, 1, 1, S)
        last = len(self.transformer.blocks) - 1
        for index, block in enumerate(self.transformer.blocks):
            if roll_from is not None:
                by_clip = tokens.unflatten(0, (clips, frames))
                roll_tokens_(by_clip, start=roll_from, count=self.num_rolled)
            tokens = block(tokens, mask, num_queries if index == last else None)
        normed: Tensor = self.transformer.norm(tokens)
        features: Tensor = normed.unflatten(0, (clips, frames)).mean(dim=1)
        return features


def build(
    dims: Dims, *, dropout: float = 0.0, drop_path: float = 0.0, temporal_init_std: float = 0.0
) -> AllInOne:
    """Build a network with fresh weights.

    Args:
        dims: its sizes.
        dropout: probability of dropout in training.
        drop_path: stochastic depth of the last block in training.
        temporal_init_std: spread of the first temporal embedding. The published networks start
            from zero and from ImageNet; trained from nothing, order is learned sooner if frames
            differ from the start.
    """
    network = assemble(dims, dropout=dropout, drop_path=drop_path)
    initialise(network, temporal_init_std=temporal_init_std)
    return network


def assemble(dims: Dims, *, dropout: float = 0.0, drop_path: float = 0.0) -> AllInOne:
    """Put a network together whose weights are yet to be loaded. Arguments as in `build`."""
    return AllInOne(
        width=dims.width,
        depth=dims.depth,
        heads=dims.heads,
        mlp_width=dims.mlp_width,
        patch=dims.patch,
        grid=dims.grid,
        frames=dims.frames,
        max_text_tokens=dims.max_text_tokens,
        vocabulary=dims.vocabulary,
        projection=dims.projection if dims.has_projections else 0,
        is_distilled=dims.is_distilled,
        has_matching_head=dims.has_matching_head,
        has_mlm_head=dims.has_mlm_head,
        num_rolled=dims.num_rolled,
        roll_order=dims.roll_order,
        rolls_unimodal=dims.rolls_unimodal,
        dropout=dropout,
        drop_path=drop_path,
    )
