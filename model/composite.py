"""A retriever with a matcher of another family behind it, as one model.

Shapes: B items, T frames, S frame side, E joint space.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.bundle_files import CARD, SEALED, BundleError, BundleParts, bundle_digest, open_bundle
from model.retrieval import RetrievalModel, RetrievalSpec, Tokens
from model.video.transforms import Frame, to_square

MATCHER, MATCHER_DIGEST = "matcher", "matcher_digest"
"""In a configuration: the folder of the matcher's bundle below ours, and its digest."""


@dataclass(frozen=True)
class TokensOfBoth(Tokens):
    """Texts as the retriever reads them, and as the matcher does.

    Attributes:
        for_matcher: the same texts.
    """

    for_matcher: Tokens

    def __getitem__(self, rows: slice | Tensor) -> "TokensOfBoth":
        """Return some of the texts."""
        return TokensOfBoth(self.ids[rows], self.mask[rows], self.for_matcher[rows])


class CompositeRetriever(RetrievalModel):
    """Finds with one model, re-ranks with another.

    Clips are cut as the retriever wants them. The matcher gets the centre that it would have
    seen itself, resized to its own frames; if the retriever keeps whole frames squashed, they
    stay squashed, because a clip does not tell the shape that its video had.

    Args:
        retriever: has a joint space; its similarity weight holds for the sum of both.
        matcher: has a fused pass.

    Raises:
        BundleError: one of them cannot do its part.
    """

    def __init__(self, retriever: RetrievalModel, matcher: RetrievalModel) -> None:
        if not retriever.spec.has_retriever:
            raise BundleError("the retriever has no joint space")
        if not matcher.spec.has_matcher:
            raise BundleError("the matcher has no fused pass that could re-rank")
        self.spec = replace(retriever.spec, has_matcher=True)
        self._retriever = retriever
        self._matcher = matcher

    def tokenize(self, texts: Sequence[str]) -> TokensOfBoth:
        """Turn texts into the tokens of both models."""
        found = self._retriever.tokenize(texts)
        return TokensOfBoth(found.ids, found.mask, self._matcher.tokenize(texts))

    def embed_text(self, tokens: Tokens) -> Tensor:
        """Return the retriever's embeddings of texts, float32 (B, E)."""
        return self._retriever.embed_text(tokens)

    def embed_video(self, clips: Tensor) -> Tensor:
        """Return the retriever's embeddings of clips uint8 (B, T, S, S, 3), float32 (B, E)."""
        return self._retriever.embed_video(clips)

    def match(self, tokens: Tokens, clips: Tensor) -> Tensor:
        """Return the matcher's log-odds that text i belongs to clip i, float32 (B,).

        Args:
            tokens: of `tokenize`.
            clips: as the retriever wants them, uint8 (B, T, S, S, 3).

        Raises:
            TypeError: the tokens are those of another model.
        """
        if not isinstance(tokens, TokensOfBoth):
            raise TypeError("these tokens are the retriever's alone; `tokenize` gives both")
        adapted = adapt_clips(clips, self.spec, self._matcher.spec)
        return self._matcher.match(tokens.for_matcher, adapted)


def adapt_clips(clips: Tensor, cut_for: RetrievalSpec, wanted_by: RetrievalSpec) -> Tensor:
    """Turn clips that were cut for one model into those that another reads.

    Args:
        clips: uint8 (B, T, S, S, 3) as `cut_for` says.
        cut_for: the model that they were cut for.
        wanted_by: the model that will read them.

    Returns:
        uint8 (B, T', S', S', 3) as `wanted_by` says. Frames are picked evenly, and repeated if
        there are too few.
    """
    count, side = clips.shape[1], clips.shape[2]
    picked = [
        int((place + 0.5) * count / wanted_by.frames_per_clip)
        for place in range(wanted_by.frames_per_clip)
    ]
    share = min(1.0, field_of_view(wanted_by) / field_of_view(cut_for))
    seen = max(1, round(side * share))
    start = (side - seen) // 2
    chosen = clips[:, picked, start : start + seen, start : start + seen].numpy()
    frames = [_resize(frame, wanted_by) for clip in chosen for frame in clip]
    return torch.from_numpy(np.stack(frames)).view(len(clips), len(picked), *frames[0].shape)


def field_of_view(spec: RetrievalSpec) -> float:
    """Return how much of the short side of a frame a model sees, in (0, 1]."""
    return 1.0 if spec.fit == "squash" else spec.frame_size / spec.resize_short


def _resize(frame: Frame, wanted_by: RetrievalSpec) -> Frame:
    side = wanted_by.frame_size
    if frame.shape[0] == side:
        return frame
    return to_square(
        np.ascontiguousarray(frame),
        resize_short=side,
        frame_size=side,
        fit="squash",
        resample=wanted_by.resample,
    )


def copy_matcher(matcher: Path, into: Path) -> dict[str, Any]:
    """Copy a matcher's bundle below another, and return what that one's configuration must hold.

    Args:
        matcher: folder of the matcher's bundle.
        into: folder of the bundle that it will re-rank for.

    Raises:
        BundleError: it is no bundle, or one that has a matcher of its own.
    """
    if MATCHER in open_bundle(matcher).config:
        raise BundleError(f"{matcher} has a matcher itself; name that one")
    target = into / MATCHER
    target.mkdir(parents=True)
    for name in (*SEALED, CARD):
        shutil.copyfile(matcher / name, target / name)
    return {MATCHER: MATCHER, MATCHER_DIGEST: bundle_digest(target)}


def find_matcher(parts: BundleParts) -> Path | None:
    """Return the folder of the matcher that belongs to a bundle, if it has one.

    Raises:
        BundleError: it is another matcher than the one that was sealed, or not below the bundle.
    """
    name, digest = parts.config.get(MATCHER), parts.config.get(MATCHER_DIGEST)
    if name is None:
        return None
    if name != MATCHER:
        raise BundleError(f"{parts.config_path} names the matcher {name!r}, not {MATCHER!r}")
    folder = parts.folder / MATCHER
    if bundle_digest(folder) != digest:
        raise BundleError(f"{folder} was changed: its digest is not that of {parts.config_path}")
    if MATCHER in open_bundle(folder).config:
        raise BundleError(f"{folder} has a matcher itself")
    return folder
