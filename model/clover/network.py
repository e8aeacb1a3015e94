"""Clover (arXiv:2207.07885): a video and a text encoder with a joint space, and a fusion of both.

Shapes: B pairs, L text tokens, T frames, S frame side, T' moments and H' by W' places of the video
features, P = T' H' W', G cells along one side of a tube mask, C width, E joint space, V vocabulary.
"""

from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.heads import MaskedLanguageHead, MatchingHead, Pooler
from model.clover.bert import TextEncoder
from model.clover.dims import CloverDims
from model.clover.fusion import FusionEncoder
from model.clover.heads import ClipProjection, TextProjection
from model.clover.initialisation import POSITION_STD, initialise
from model.clover.swin import VideoSwin
from model.passes import Fused

COSINE_EPS = 1e-8


class Clover(nn.Module):
    """The encoders and their heads; `model.passes.VideoTextNetwork` says what the passes are.

    Args:
        video: encoder of clips.
        text: encoder of texts.
        fusion: encoder of both.
        pooler: over the fused text's CLS.
        mask_grid: cells G along one side of a tube mask.
        heads: those that the network has, by name: `video_proj` and `text_proj` (joint space),
            `joint_video_head` and `joint_text_head` (tri-modal alignment), `matching_head`,
            `mlm_head`.
    """

    video_proj: ClipProjection
    text_proj: TextProjection
    joint_video_head: ClipProjection
    joint_text_head: TextProjection
    matching_head: MatchingHead
    mlm_head: MaskedLanguageHead

    def __init__(
        self,
        *,
        video: VideoSwin,
        text: TextEncoder,
        fusion: FusionEncoder,
        pooler: Pooler,
        mask_grid: int,
        heads: dict[str, nn.Module],
    ) -> None:
        super().__init__()
        self.mask_grid = mask_grid
        self.video = video
        self.text = text
        self.fusion = fusion
        self.pooler = pooler
        for name, head in heads.items():
            self.add_module(name, head)

    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the features of words, (B, L, C).

        Args:
            ids: token ids, int64 (B, L).
            mask: True where a real token stands, bool (B, L).
        """
        words: Tensor = self.text(ids, mask)
        return words

    def visual_tokens(self, frames: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the features of clips, (B, T', H', W', Cv).

        Args:
            frames: normalised frames, (B, T, 3, S, S).
            hidden: cells whose contents are replaced by the mask token in all frames, bool
                (B, G, G).
        """
        features: Tensor = self.video(frames, hidden)
        return features

    def embed_words(self, words: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 (other families)
        """Return the unit-norm embeddings of texts from `text_tokens`, (B, E)."""
        return _unit(self.text_proj(words[:, 0]))

    def embed_visual(self, visual: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips from `visual_tokens`, (B, E)."""
        return _unit(self.video_proj(visual.mean(dim=(1, 2, 3))))

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the unit-norm embeddings of texts, (B, E): the last block is for CLS only.

        Arguments as in `text_tokens`.
        """
        return _unit(self.text_proj(self.text(ids, mask, num_queries=1)[:, 0]))

    def embed_video(self, frames: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips, (B, E). Arguments as in `visual_tokens`."""
        return self.embed_visual(self.visual_tokens(frames))

    def join(self, words: Tensor, mask: Tensor, visual: Tensor) -> Fused:
        """Run texts and clips together.

        Args:
            words: from `text_tokens`, (B, L, C).
            mask: True where a real token stands, bool (B, L).
            visual: from `visual_tokens`, (B, T', H', W', Cv).

        Raises:
            ValueError: the clip is longer than the fusion has positions for.
        """
        features = self.fusion(words, mask, visual)  # (B, L + P, C)
        length = words.shape[1]
        return Fused(
            text=features[:, :length],
            image=features[:, length:],
            pooled=self.pooler(features[:, 0]),
        )

    def match_logits(self, fused: Fused) -> Tensor:
        """Return the matching logits of pairs, (B, 2); class 1 = the text belongs to the clip."""
        logits: Tensor = self.matching_head(fused.pooled)
        return logits

    def match(self, words: Tensor, mask: Tensor, visual: Tensor) -> Tensor:
        """Return the matching logits (B, 2) alone: the last block is computed for CLS only.

        Arguments and errors as in `join`, the result is that of `match_logits`.
        """
        first = self.fusion(words, mask, visual, num_queries=1)[:, 0]  # (B, C)
        logits: Tensor = self.matching_head(self.pooler(first))
        return logits

    def mlm_logits(self, features: Tensor) -> Tensor:
        """Return logits over the vocabulary for text features (..., C): (..., V)."""
        logits: Tensor = self.mlm_head(features)
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


def build(
    dims: CloverDims,
    *,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    temporal_init_std: float = POSITION_STD,
) -> Clover:
    """Build a network with fresh weights.

    Args:
        dims: its sizes.
        dropout: probability of dropout in training; 0.1 as published.
        drop_path: stochastic depth of the video encoder's last block in training; 0.3 as published.
        temporal_init_std: spread of the fusion's temporal positions; trained from nothing, order
            is learned sooner if moments differ more from the start than as published.
    """
    network = assemble(dims, dropout=dropout, drop_path=drop_path)
    initialise(network, temporal_init_std=temporal_init_std)
    return network


def assemble(dims: CloverDims, *, dropout: float = 0.0, drop_path: float = 0.0) -> Clover:
    """Put a network together whose weights are yet to be loaded. Arguments as in `build`."""
    return Clover(
        video=VideoSwin(
            widths=dims.widths,
            depths=dims.depths,
            heads=dims.heads,
            window=dims.window,
            tubelet=dims.tubelet,
            patch=dims.patch,
            cuts_bias_index=dims.cuts_bias_index,
            drop_path=drop_path,
        ),
        text=TextEncoder(
            vocabulary=dims.vocabulary,
            max_tokens=dims.max_text_tokens,
            width=dims.width,
            depth=dims.text_depth,
            heads=dims.text_heads,
            mlp_width=dims.mlp_width,
            dropout=dropout,
        ),
        fusion=FusionEncoder(
            video_width=dims.video_width,
            width=dims.width,
            depth=dims.fusion_depth,
            heads=dims.text_heads,
            mlp_width=dims.mlp_width,
            steps=dims.steps,
            places=dims.final_grid**2,
            dropout=dropout,
        ),
        pooler=Pooler(width=dims.width),
        mask_grid=dims.mask_grid,
        heads=_assemble_heads(dims, dropout),
    )


def _assemble_heads(dims: CloverDims, dropout: float) -> dict[str, nn.Module]:
    hidden, projection = dims.projection_hidden, dims.projection
    heads: dict[str, nn.Module] = {}
    if dims.has_projections:
        heads["video_proj"] = ClipProjection(
            width=dims.video_width, hidden=hidden, projection=projection
        )
        heads["text_proj"] = TextProjection(width=dims.width, projection=projection, dropout=0.0)
    if dims.has_joint_heads:
        heads["joint_video_head"] = ClipProjection(
            width=dims.width, hidden=hidden, projection=projection
        )
        heads["joint_text_head"] = TextProjection(
            width=dims.width, projection=projection, dropout=dropout
        )
    if dims.has_matching_head:
        heads["matching_head"] = MatchingHead(width=dims.width)
    if dims.has_mlm_head:
        heads["mlm_head"] = MaskedLanguageHead(width=dims.width, vocabulary=dims.vocabulary)
    return heads


def _unit(embedding: Tensor) -> Tensor:
    return functional.normalize(embedding.float(), dim=-1, eps=COSINE_EPS)
