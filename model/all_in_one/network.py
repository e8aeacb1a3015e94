"""All-in-One (arXiv:2203.07303): one transformer for text, video, and both together.

Shapes: B pairs, L text tokens, T frames, S frame side, N patches and P image tokens of a frame,
G cells along one side of a tube mask, C width, E joint space, V vocabulary.

A clip is T sequences that never attend to each other; time enters through the temporal embedding
and, in the fused pass, through token rolling. Features are the mean over T after the last norm.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.dims import Dims, RollOrder
from model.all_in_one.embeddings import TextEmbeddings, empty_table
from model.all_in_one.heads import (
    JointTextHead,
    JointVideoHead,
    MaskedLanguageHead,
    MatchingHead,
    Pooler,
)
from model.all_in_one.initialisation import initialise
from model.all_in_one.token_rolling import spread_order
from model.all_in_one.transformer import VisionTransformer
from model.all_in_one.word_meanings import WordMeanings
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
        mask_grid: cells G along one side of a tube mask; a divisor of the grid.
        frames: longest clip T.
        max_text_tokens: longest text L.
        vocabulary: number of words V.
        projection: width E of the joint space; 0: no projections.
        is_distilled: the class with a second special token and no temporal position.
        has_matching_head: whether pairs can be matched.
        has_mlm_head: whether hidden words can be named.
        has_rank_head: whether texts are ranked for a clip by a head of its own, as in files that
            were tuned for ranking.
        num_rolled: image tokens that roll each way before each block.
        roll_order: which patches these are.
        rolls_unimodal: tokens roll in the video-only pass too.
        has_joint_heads: whether Clover's objectives can train it: it can hide patches and project
            what the fused pass reads.
        lexicon: tokens of which it is known what they mean, see `Dims`; 0: of none.
        unknown: row of the word table that tokens beyond it are read as.
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
        mask_grid: int,
        frames: int,
        max_text_tokens: int,
        vocabulary: int,
        projection: int,
        is_distilled: bool,
        has_matching_head: bool,
        has_mlm_head: bool,
        has_rank_head: bool,
        num_rolled: int,
        roll_order: RollOrder,
        rolls_unimodal: bool,
        has_joint_heads: bool,
        lexicon: int,
        unknown: int,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.width = width
        self.unknown = unknown
        self.mask_grid = mask_grid
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
            has_mask_token=has_joint_heads,
            num_rolled=num_rolled,
            dropout=dropout,
            drop_path=drop_path,
        )
        self.pooler = Pooler(width=width)
        if has_mlm_head:
            self.mlm_score = MaskedLanguageHead(width=width, vocabulary=vocabulary)
        self._add_pair_heads(width, matches=has_matching_head, ranks=has_rank_head)
        self._add_joint_space(width, projection, has_joint_heads=has_joint_heads, dropout=dropout)
        self.word_meanings = WordMeanings(rows=lexicon, width=projection) if lexicon else None

    def _add_pair_heads(self, width: int, *, matches: bool, ranks: bool) -> None:
        """Add what judges how well a text and a clip go together."""
        if matches:
            self.itm_score = MatchingHead(width=width)
        if ranks:
            self.rank_output = nn.Linear(width, 1)
        self.has_rank_head = ranks

    def _add_joint_space(
        self, width: int, projection: int, *, has_joint_heads: bool, dropout: float
    ) -> None:
        """Add what leads to the joint space, from unimodal passes and from the fused one."""
        if projection:
            self.txt_proj = nn.Linear(width, projection)
            self.vid_proj = nn.Linear(width, projection)
        if has_joint_heads:
            self.joint_video_head = JointVideoHead(width=width, projection=projection)
            self.joint_text_head = JointTextHead(
                width=width, projection=projection, dropout=dropout
            )

    def text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the features of words without a clip, (B, L, C).

        Args:
            ids: token ids, int64 (B, L).
            mask: True where a real token stands, bool (B, L).
        """
        return self._read_words(self.text_tokens(ids, mask), mask, num_queries=None)

    def video_features(self, frames: Tensor) -> Tensor:
        """Return the features of image tokens without a text, (B, P, C).

        Args:
            frames: normalised frames, (B, T, 3, S, S).
        """
        return self._video_only(frames, num_queries=None)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the unit-norm embeddings of texts, (B, E). Arguments as in `text_features`."""
        return self.embed_words(self.text_tokens(ids, mask), mask)

    def embed_video(self, frames: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips, (B, E). Arguments as in `video_features`."""
        return self._project_video(self._video_only(frames, num_queries=1))

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

    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 (others need it)
        """Return what the other passes need of texts, (B, L, C); it can be kept and reused.

        With a lexicon it is (B, L, C + E): tokens, and what they mean. Arguments as in
        `text_features`.
        """
        if self.word_meanings is None:
            tokens: Tensor = self.text_embeddings(ids) + self._modality(TEXT)
            return tokens
        is_known = ids < self.text_embeddings.word_embeddings.num_embeddings
        tokens = self.text_embeddings(ids.where(is_known, self.unknown)) + self._modality(TEXT)
        return torch.cat((tokens, self.word_meanings(ids).to(tokens.dtype)), dim=-1)

    def visual_tokens(
        self, frames: Tensor, permutation: Tensor | None = None, hidden: Tensor | None = None
    ) -> Tensor:
        """Return what the other passes need of clips, (B, T, P, C); it can be kept and reused.

        Args:
            frames: normalised frames, (B, T, 3, S, S).
            permutation: as in `fused`.
            hidden: cells whose contents are replaced by the mask token in all frames, bool
                (B, G, G) with G = `mask_grid`. Only networks with joint heads have that token.
        """
        order = self.slot_order if permutation is None else permutation
        patches = None if hidden is None else self._hidden_patches(hidden)  # (B, N)
        return self.transformer.embed_frames(frames, order, patches) + self._modality(IMAGE)

    def embed_words(self, words: Tensor, mask: Tensor) -> Tensor:
        """Return the unit-norm embeddings of texts from their tokens, (B, E)."""
        own = self._project_text(self._read_words(words, mask, num_queries=1))
        if self.word_meanings is None:
            return own
        combined: Tensor = self.word_meanings.combine(own, words[..., self.width :], mask)
        return combined

    def embed_visual(self, visual: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips from their tokens, (B, E)."""
        if self.rolls_unimodal:
            visual = visual.clone()  # rolling overwrites it, and other passes may need it
        return self._project_video(self._watch(visual, num_queries=1))

    def fuse(self, ids: Tensor, mask: Tensor, visual: Tensor) -> Fused:
        """Run texts together with clips that went through `visual_tokens`."""
        return self.join(self.text_tokens(ids, mask), mask, visual)

    def join(self, words: Tensor, mask: Tensor, visual: Tensor) -> Fused:
        """Run texts that went through `text_tokens` together with clips, as in `fuse`."""
        length = words.shape[1]
        features = self._join(words, mask, visual, num_queries=None)  # (B, L + P, C)
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
        words = self.text_tokens(ids, mask)
        first = self._join(words, mask, visual, num_queries=1)[:, 0]  # (B, C)
        pooled: Tensor = self.pooler(first)
        return pooled

    def rank_score(self, fused: Fused) -> Tensor:
        """Return the score that ranks texts for a clip, (B,).

        It is that of the ranking head, or if there is none row 1 of the matching head, which the
        ranking head starts as in the published recipes.
        """
        if self.has_rank_head:
            scores: Tensor = self.rank_output(fused.pooled)
            return scores[:, 0]
        return self.match_logits(fused)[:, 1]

    def log_odds(self, pooled: Tensor) -> Tensor:
        """Return what hits are re-ranked by, for pooled features (B, C): float32 (B,).

        These are the log-odds of a match. A ranking head gives its score instead: it was trained
        to order, so its differences are log-odds and its zero means nothing.
        """
        if self.has_rank_head:
            scores: Tensor = self.rank_output(pooled)
            return scores[:, 0].float()
        logits: Tensor = self.itm_score(pooled).float()
        return logits[:, 1] - logits[:, 0]

    def mlm_logits(self, features: Tensor) -> Tensor:
        """Return logits over the vocabulary for text features (..., C): (..., V)."""
        logits: Tensor = self.mlm_score(features)
        return logits

    def joint_video(self, fused: Fused) -> Tensor:
        """Return what stands for a clip with hidden cells after the fused pass, (B, E).

        Of any length; only networks with joint heads have it.
        """
        embeddings: Tensor = self.joint_video_head(fused.text[:, 0])
        return embeddings

    def joint_text(self, fused: Fused) -> Tensor:
        """Return what stands for a text with hidden words after the fused pass, (B, E).

        Of any length; only networks with joint heads have it.
        """
        embeddings: Tensor = self.joint_text_head(fused.text[:, 0])
        return embeddings

    def _modality(self, row: int) -> Tensor:
        return self.token_type_embeddings.weight[row]

    def _hidden_patches(self, hidden: Tensor) -> Tensor:
        """Spread cells over the patches that they cover, bool (B, G, G) to (B, N)."""
        if hidden.shape[1:] != (self.mask_grid, self.mask_grid):
            side = self.mask_grid
            raise ValueError(f"cells of shape {tuple(hidden.shape)} are not (B, {side}, {side})")
        patches = hidden.repeat_interleave(self.grid // self.mask_grid, dim=1)
        return patches.repeat_interleave(self.grid // self.mask_grid, dim=2).flatten(1)

    def _project_text(self, features: Tensor) -> Tensor:
        projected = self.txt_proj(features[:, 0]).float()
        return functional.normalize(projected, dim=-1, eps=COSINE_EPS)

    def _project_video(self, features: Tensor) -> Tensor:
        projected = self.vid_proj(features[:, 0]).float()
        return functional.normalize(projected, dim=-1, eps=COSINE_EPS)

    def _read_words(self, words: Tensor, mask: Tensor, *, num_queries: int | None) -> Tensor:
        tokens = words[:, None, :, : self.width]
        return self.transformer.encode(tokens, mask, num_queries=num_queries)

    def _watch(self, visual: Tensor, *, num_queries: int | None) -> Tensor:
        start = 0 if self.rolls_unimodal else None
        return self.transformer.encode(visual, None, roll_from=start, num_queries=num_queries)

    def _video_only(self, frames: Tensor, *, num_queries: int | None) -> Tensor:
        order = self.slot_order if self.rolls_unimodal else None
        visual = self.transformer.embed_frames(frames, order) + self._modality(IMAGE)
        return self._watch(visual, num_queries=num_queries)

    def _join(
        self, words: Tensor, mask: Tensor, visual: Tensor, *, num_queries: int | None
    ) -> Tensor:
        text = words[:, None, :, : self.width].expand(-1, visual.shape[1], -1, -1)  # (B, T, L, C)
        tokens = torch.cat((text, visual), dim=2)  # (B, T, L + P, C)
        mask = functional.pad(mask, (0, visual.shape[2]), value=True)  # (B, L + P)
        start = words.shape[1]
        return self.transformer.encode(tokens, mask, roll_from=start, num_queries=num_queries)


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
        mask_grid=dims.mask_grid,
        frames=dims.frames,
        max_text_tokens=dims.max_text_tokens,
        vocabulary=dims.vocabulary,
        projection=dims.projection if dims.has_projections else 0,
        is_distilled=dims.is_distilled,
        has_matching_head=dims.has_matching_head,
        has_mlm_head=dims.has_mlm_head,
        has_rank_head=dims.has_rank_head,
        num_rolled=dims.num_rolled,
        roll_order=dims.roll_order,
        rolls_unimodal=dims.rolls_unimodal,
        has_joint_heads=dims.has_joint_heads,
        lexicon=dims.lexicon,
        unknown=dims.unknown,
        dropout=dropout,
        drop_path=drop_path,
    )
