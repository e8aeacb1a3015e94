"""The one contract that search, ingest and tuning know of a model.

Shapes: B items, T frames per clip, S frame side, L text tokens, E embedding width.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model.video.transforms import Fit, Resample

Score = TypeVar("Score", float, Tensor)


class MatcherMissingError(RuntimeError):
    """The bundle has no fused pass that could match a text with a clip."""


class RetrieverMissingError(RuntimeError):
    """The bundle has no joint space that texts and clips could be embedded in."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How re-rank scores become probabilities that hold, see `model.calibration`.

    Attributes:
        slope: log-odds of a right answer per unit of the re-rank score; never negative, so that
            probabilities keep the order of the hits.
        bias: log-odds at a score of 0.
        confident_probability: if no hit reaches it, the search says that nothing matches; 0 if
            that cannot be told.
    """

    slope: float
    bias: float
    confident_probability: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no calibration."""
        if not (math.isfinite(self.slope) and self.slope >= 0):
            raise ValueError(f"slope is {self.slope!r}, not a number of at least 0")
        if not math.isfinite(self.bias):
            raise ValueError(f"bias is {self.bias!r}, not a number")
        if not 0 <= self.confident_probability <= 1:
            raise ValueError(f"confident_probability {self.confident_probability!r} is none")


@dataclass(frozen=True, kw_only=True)
class RetrievalSpec:
    """What callers must know of a model before they use it.

    Attributes:
        family: architecture, as `all_in_one`.
        embedding_dim: width E of the joint space.
        frames_per_clip: T.
        frame_size: side S of the square frames that the network reads, pixels.
        resize_short: the short side is resized to this before the centre crop, pixels.
        fit: how a frame becomes a square, see `model.video.transforms.Fit`.
        resample: filter that it is resized with.
        mean: per-channel mean that pixels in [0, 1] are shifted by, RGB.
        std: per-channel deviation that they are divided by, RGB.
        max_text_tokens: longest text L, special tokens included.
        has_retriever: text and video can be embedded.
        has_matcher: text and clip can be matched.
        similarity_weight: what a similarity of 1 counts, in log-odds, when hits are re-ranked.
        is_calibrated: match probabilities were fitted on held-out pairs, see `Calibration`.
        match_slope: of the calibration.
        match_bias: of the calibration.
        confident_probability: of the calibration.
    """

    family: str
    embedding_dim: int
    frames_per_clip: int
    frame_size: int
    resize_short: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    max_text_tokens: int
    has_retriever: bool
    has_matcher: bool
    similarity_weight: float = 0.0
    fit: Fit = "crop"
    resample: Resample = "bilinear"
    is_calibrated: bool = False
    match_slope: float = 1.0
    match_bias: float = 0.0
    confident_probability: float = 0.0

    def calibrated(self, by: Calibration) -> "RetrievalSpec":
        """Return the same with match probabilities that hold."""
        return replace(
            self,
            is_calibrated=True,
            match_slope=by.slope,
            match_bias=by.bias,
            confident_probability=by.confident_probability,
        )

    def rerank_score(self, *, similarity: Score, log_odds: Score) -> Score:
        """Return what re-ranked hits are ordered by, best highest.

        The fused pass sees more than the dual stream but saw fewer pairs in training; their
        errors differ, so the sum of both orders better than either. The weight was chosen on
        videos that neither training nor evaluation contains.

        Args:
            similarity: of the dual stream, any shape.
            log_odds: of the fused pass, the same shape.
        """
        return log_odds + self.similarity_weight * similarity

    def probability(self, *, similarity: float, log_odds: float) -> float:
        """Return the match probability of a hit, in [0, 1].

        Calibrated, it is the share of right answers among hits with this score; else what the
        fused pass says, which knows nothing of how many wrong answers there are to each right one.

        Args:
            similarity: of the dual stream.
            log_odds: of the fused pass.
        """
        if not self.is_calibrated:
            return sigmoid(log_odds)
        score = self.rerank_score(similarity=similarity, log_odds=log_odds)
        return sigmoid(self.match_slope * score + self.match_bias)

    @property
    def can_be_unsure(self) -> bool:
        """Whether it is known below which probability a hit is noise."""
        return self.is_calibrated and self.confident_probability > 0


def sigmoid(log_odds: float) -> float:
    """Return the probability that log-odds stand for."""
    return 0.5 * (1.0 + math.tanh(0.5 * log_odds))


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts.

    Attributes:
        ids: token ids, int64 (B, L).
        mask: True where a real token stands, bool (B, L).
    """

    ids: Tensor
    mask: Tensor

    def __len__(self) -> int:
        """Return the number of texts B."""
        return len(self.ids)

    def __getitem__(self, rows: slice | Tensor) -> "Tokens":
        """Return some of the texts."""
        return Tokens(self.ids[rows], self.mask[rows])

    def to(self, device: torch.device) -> "Tokens":
        """Return the texts on a device."""
        return Tokens(self.ids.to(device), self.mask.to(device))


class RetrievalModel(ABC):
    """What every family can do. Thread safe; gradients off; results are float32 on the CPU."""

    spec: RetrievalSpec

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Turn texts into tokens, cut at `spec.max_text_tokens`."""

    @abstractmethod
    def embed_text(self, tokens: Tokens) -> Tensor:
        """Return the unit-norm embeddings of texts, float32 (B, E)."""

    @abstractmethod
    def embed_video(self, clips: Tensor) -> Tensor:
        """Return the unit-norm embeddings of clips.

        Args:
            clips: RGB frames as `model.video` yields them, uint8 (B, T, S, S, 3).

        Returns:
            float32 (B, E).
        """

    @abstractmethod
    def match(self, tokens: Tokens, clips: Tensor) -> Tensor:
        """Return the log-odds that text i belongs to clip i.

        Args:
            tokens: B texts.
            clips: uint8 (B, T, S, S, 3).

        Returns:
            float32 (B,); `sigmoid` of it is the match probability.

        Raises:
            MatcherMissingError: `spec.has_matcher` is False.
        """


def clips_to_tensor(clips: Sequence[np.ndarray]) -> Tensor:
    """Stack decoded clips, each uint8 (T, S, S, 3), into one batch (B, T, S, S, 3)."""
    return torch.from_numpy(np.stack(clips))
