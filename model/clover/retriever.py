"""Clover as a retrieval model. Shapes: B items, T frames, S side, L tokens, E joint space."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.all_in_one.precision import store_matrices
from model.bundle_checks import PAD
from model.clover.dims import CloverDims
from model.clover.network import Clover
from model.preprocessing import Preprocessing
from model.retrieval import (
    MatcherMissingError,
    RetrievalModel,
    RetrievalSpec,
    RetrieverMissingError,
    Tokens,
)


class CloverRetriever(RetrievalModel):
    """A trained network with its tokenizer. It holds no state that a call changes: no locks.

    The published code re-ranks nothing; here the fusion and a matching head do.

    Args:
        network: the network, whose weights it takes over (and converts, see `dtype`).
        dims: sizes of the network.
        preprocessing: how clips were cut and scaled in training; they may be longer than the
            fusion has positions for.
        tokenizer: turns text into ids; needs the token `[PAD]`.
        similarity_weight: see `RetrievalSpec`.
        device: where to run.
        dtype: type in which matrices are multiplied; the rest is float32.
    """

    def __init__(
        self,
        *,
        network: Clover,
        dims: CloverDims,
        preprocessing: Preprocessing,
        tokenizer: Tokenizer,
        similarity_weight: float = 0.0,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.spec = RetrievalSpec(
            family=dims.family,
            embedding_dim=dims.projection if dims.has_projections else 0,
            frames_per_clip=preprocessing.frames_per_clip,
            frame_size=preprocessing.frame_size,
            resize_short=preprocessing.resize_short,
            fit=preprocessing.fit,
            resample=preprocessing.resample,
            mean=preprocessing.mean,
            std=preprocessing.std,
            max_text_tokens=dims.max_text_tokens,
            has_retriever=dims.has_projections,
            has_matcher=dims.has_matching_head,
            similarity_weight=similarity_weight,
        )
        self.network = network.to(device).eval().requires_grad_(requires_grad=False)
        self.device = torch.device(device)
        self.dtype = dtype
        self.fused_frames = dims.frames
        store_matrices(self.network, dtype)
        self._preprocessing = preprocessing
        self._tokenizer = tokenizer
        tokenizer.enable_truncation(dims.max_text_tokens)
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Turn texts into tokens, padded to the longest of them."""
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings])
        return Tokens(ids, mask.bool())

    def embed_text(self, tokens: Tokens) -> Tensor:
        """Return the unit-norm embeddings of texts, float32 (B, E).

        Raises:
            RetrieverMissingError: the network has no projections to the joint space.
        """
        self._require_retriever()
        with self._inference():
            ids, mask = tokens.ids.to(self.device), tokens.mask.to(self.device)
            return self.network.embed_text(ids, mask).float().cpu()

    def embed_video(self, clips: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips, float32 (B, E).

        Args:
            clips: RGB, uint8 (B, T, S, S, 3); T is free.

        Raises:
            RetrieverMissingError: the network has no projections to the joint space.
        """
        self._require_retriever()
        with self._inference():
            return self.network.embed_video(self._read(clips)).float().cpu()

    def match(self, tokens: Tokens, clips: Tensor) -> Tensor:
        """Return the log-odds that text i belongs to clip i, float32 (B,).

        Of clips that are longer than the fusion has positions for, evenly spaced frames are read.

        Args:
            tokens: B texts.
            clips: uint8 (B, T, S, S, 3).

        Raises:
            MatcherMissingError: the network has no matching head.
        """
        if not self.spec.has_matcher:
            raise MatcherMissingError("this bundle has no matching head")
        with self._inference():
            visual = self.network.visual_tokens(self._read(_thin(clips, self.fused_frames)))
            ids, mask = tokens.ids.to(self.device), tokens.mask.to(self.device)
            words = self.network.text_tokens(ids, mask)
            logits = self.network.match(words, mask, visual).float()  # (B, 2)
            return (logits[:, 1] - logits[:, 0]).cpu()

    def _read(self, clips: Tensor) -> Tensor:
        """Move clips to the device and normalise them, float32 (B, T, 3, S, S)."""
        side = self.spec.frame_size
        if clips.dtype != torch.uint8 or clips.shape[2:] != (side, side, 3):
            raise ValueError(f"clips are {clips.dtype} {tuple(clips.shape)}, not uint8 of {side}px")
        return self._preprocessing.normalise(clips.to(self.device))

    def _require_retriever(self) -> None:
        if not self.spec.has_retriever:
            raise RetrieverMissingError("this bundle has no projections to a joint space")

    @contextmanager
    def _inference(self) -> Iterator[None]:
        is_half = self.dtype is not torch.float32
        autocast = torch.autocast(self.device.type, self.dtype, enabled=is_half)
        with torch.inference_mode(), autocast:
            yield


def _thin(clips: Tensor, most: int) -> Tensor:
    """Return clips (B, T, ...) of at most so many frames: the middle ones of equal parts."""
    frames = clips.shape[1]
    if frames <= most:
        return clips
    return clips[:, (2 * torch.arange(most) + 1) * frames // (2 * most)]
