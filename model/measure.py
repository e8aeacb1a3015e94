"""Search a gallery in every way that a model can, and say how well each finds what it should.

Shapes: N texts, M videos, K candidates, B pairs or clips in one pass.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.metrics import Ints, rank_texts, rank_videos
from model.report import DIRECTIONS, Direction, Figures, Report, Stream, StreamKind
from model.retrieval import RetrievalModel, Tokens

RERANK_DEPTH = 16
EMBED_BATCH = 32
MATCH_BATCH = 64
TRIAL_BATCH = 8

Scores = NDArray[np.floating]
Progress = Callable[[str, int, int], None]
"""Told (what is done, how many are done, of how many) as the work goes on."""


class Clips(Protocol):
    """The clips of a gallery, in memory or on disk."""

    def __len__(self) -> int:
        """Return how many there are, M."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return some of them, uint8 (B, T, S, S, 3); `rows` is int64 (B,)."""


@dataclass(frozen=True)
class Gallery:
    """Texts and clips that belong together.

    Attributes:
        texts: the queries N of t2v, and what v2t finds.
        clips: the videos M.
        owners: which video each text belongs to, (N,).
        groups: which videos are drawn together for intervals, (M,); None if each is alone.
    """

    texts: Sequence[str]
    clips: Clips
    owners: Ints
    groups: Ints | None = None


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def measure(
    model: RetrievalModel,
    gallery: Gallery,
    *,
    depths: Sequence[int] = (RERANK_DEPTH,),
    full_fused: bool = False,
    progress: Progress = no_progress,
) -> Report:
    """Search a gallery in every way that a model can.

    A model without a matcher has the dual stream alone. One without a joint space has nothing
    to re-rank: every text is matched with every clip, whether asked for or not.

    Args:
        model: what is measured.
        gallery: texts and clips.
        depths: how many of the dual stream's best are re-ranked, each for itself.
        full_fused: match every text with every clip as well: N x M fused passes.
        progress: told how far it is.

    Raises:
        ValueError: a depth is not positive, or the model gave NaN or infinity.
    """
    if min(depths, default=1) < 1:
        raise ValueError(f"cannot re-rank the best {min(depths)}")
    work = _Work(model, gallery, model.tokenize(gallery.texts), progress)
    streams: list[Stream] = []
    similarity = None
    if model.spec.has_retriever:
        similarity = similarities(model, work.tokens, gallery.clips, progress)
        streams.append(work.stream("dual_stream", None, similarity, similarity))
    if model.spec.has_matcher and similarity is not None and not full_fused:
        streams += work.rerank(similarity, depths)
    elif model.spec.has_matcher:
        log_odds = work.match_all()
        if similarity is not None:
            streams += work.rerank_matched(similarity, log_odds, [*depths, None])
        streams.append(work.stream("full_fused", None, log_odds, log_odds))
    return Report(tuple(streams), len(gallery.texts), len(gallery.clips))


def similarities(
    model: RetrievalModel, tokens: Tokens, clips: Clips, progress: Progress = no_progress
) -> Scores:
    """Return the similarity of every text with every clip, float32 (N, M)."""
    texts = [
        model.embed_text(tokens[start : start + EMBED_BATCH])
        for start in range(0, len(tokens), EMBED_BATCH)
    ]
    videos = []
    for start in range(0, len(clips), EMBED_BATCH):
        rows = torch.arange(start, min(start + EMBED_BATCH, len(clips)))
        videos.append(model.embed_video(clips[rows]))
        progress("clips embedded", int(rows[-1]) + 1, len(clips))
    table: Scores = (torch.cat(texts) @ torch.cat(videos).T).numpy()
    return table


def match_pairs(
    model: RetrievalModel,
    tokens: Tokens,
    clips: Clips,
    pairs: Sequence[int] | Ints,
    progress: Progress = no_progress,
) -> NDArray[np.float32]:
    """Return the log-odds of pairs of texts and clips.

    Args:
        model: what matches; needs a matcher.
        tokens: N texts.
        clips: M clips.
        pairs: number of each pair, text x M + clip; a `range` takes no memory.
        progress: told how far it is.
    """
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), MATCH_BATCH):
        part = torch.as_tensor(np.asarray(pairs[start : start + MATCH_BATCH]))
        texts, videos = part // len(clips), part % len(clips)
        found[start : start + len(part)] = model.match(tokens[texts], clips[videos]).numpy()
        progress("pairs matched", start + len(part), len(pairs))
    return found


def pairs_per_s(model: RetrievalModel, frames_per_clip: int) -> float:
    """Return how many pairs a model matches per second here, tried on a few of noise."""
    side = model.spec.frame_size
    clips = torch.randint(256, (TRIAL_BATCH, frames_per_clip, side, side, 3), dtype=torch.uint8)
    tokens = model.tokenize(["a trial of how long one text takes"] * TRIAL_BATCH)
    model.match(tokens, clips)  # the first pass sets up more than it computes
    began = time.perf_counter()
    model.match(tokens, clips)
    return TRIAL_BATCH / (time.perf_counter() - began)


def reads_frames(model: RetrievalModel, frames_per_clip: int) -> bool:
    """Tell whether a model reads clips of so many frames, tried on one."""
    side = model.spec.frame_size
    clip = torch.zeros(1, frames_per_clip, side, side, 3, dtype=torch.uint8)
    try:
        if model.spec.has_retriever:
            model.embed_video(clip)
        if model.spec.has_matcher:
            model.match(model.tokenize(["a trial"]), clip)
    except (ValueError, RuntimeError):  # shapes that do not fit
        return False
    return True


@dataclass(frozen=True)
class _Work:
    """One gallery on its way through one model."""

    model: RetrievalModel
    gallery: Gallery
    tokens: Tokens
    progress: Progress

    def match_all(self) -> Scores:
        """Return the log-odds of every text with every clip, float32 (N, M)."""
        clips = self.gallery.clips
        pairs = range(len(self.tokens) * len(clips))
        found = match_pairs(self.model, self.tokens, clips, pairs, self.progress)
        return found.reshape(len(self.tokens), len(clips))

    def rerank(self, similarity: Scores, depths: Sequence[int]) -> list[Stream]:
        """Match the candidates of both directions, each pair once, and re-rank them."""
        if not depths:
            return []
        candidates = [_candidates(similarity, max(depths), by).ravel() for by in DIRECTIONS]
        pairs = np.unique(np.concatenate(candidates))
        log_odds = np.full(similarity.shape, np.nan, np.float32)  # NaN: no candidate
        log_odds.ravel()[pairs] = match_pairs(
            self.model, self.tokens, self.gallery.clips, pairs, self.progress
        )
        return self.rerank_matched(similarity, log_odds, depths)

    def rerank_matched(
        self, similarity: Scores, log_odds: Scores, depths: Sequence[int | None]
    ) -> list[Stream]:
        """Re-rank to each depth, None for all, where the candidates' log-odds are known."""
        fused = self.model.spec.rerank_score(
            similarity=torch.from_numpy(similarity), log_odds=torch.from_numpy(log_odds)
        ).numpy()
        return [
            self.stream(
                "reranked", depth, *(_lift(similarity, fused, depth, by) for by in DIRECTIONS)
            )
            for depth in depths
        ]

    def stream(
        self, kind: StreamKind, depth: int | None, by_text: Scores, by_video: Scores
    ) -> Stream:
        """Rank videos by the scores of t2v, and texts by those of v2t."""
        owners, groups = self.gallery.owners, self.gallery.groups
        t2v = rank_videos(by_text, owners, groups=groups)
        v2t = rank_texts(by_video, owners, groups=groups)
        return Stream(kind, depth, Figures.of(t2v), Figures.of(v2t))


def _candidates(similarity: Scores, depth: int, by: Direction) -> Ints:
    """Return the numbers of the pairs that are re-ranked, text x M + clip, (N or M, K)."""
    num_texts, num_videos = similarity.shape
    scores = torch.from_numpy(similarity)
    if by == "t2v":
        videos = scores.topk(min(depth, num_videos), dim=1).indices  # (N, K)
        pairs = torch.arange(num_texts)[:, None] * num_videos + videos
    else:
        texts = scores.T.topk(min(depth, num_texts), dim=1).indices  # (M, K)
        pairs = texts * num_videos + torch.arange(num_videos)[:, None]
    found: Ints = pairs.numpy()
    return found


def _lift(similarity: Scores, fused: Scores, depth: int | None, by: Direction) -> Scores:
    """Return scores by which candidates come before all others, in their new order, (N, M)."""
    if depth is None:
        return fused
    pairs = _candidates(similarity, depth, by).ravel()
    lifted = fused.ravel()[pairs].astype(np.float64)
    scores = similarity.astype(np.float64)
    scores.ravel()[pairs] = lifted - lifted.min() + similarity.max() + 1
    return scores
