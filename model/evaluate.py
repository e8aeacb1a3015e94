"""How well a model retrieves: R@K and MdR as the field counts them, and order in time.

Shapes: N texts, M videos (N a multiple of M: the texts of a video stand together), K candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.retrieval import RetrievalModel, RetrievalSpec, Tokens, clips_to_tensor
from model.world.families import FAMILY_SIZE, Member, gallery
from model.world.render import bin_centres, render

RERANK_DEPTH = 16
EMBED_BATCH = 32
MATCH_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Shares of queries, in percent, whose answer is among the first 1, 5 and 10; median rank."""

    r1: float
    r5: float
    r10: float
    median_rank: float

    @classmethod
    def of(cls, ranks: NDArray[np.float64]) -> "Recall":
        """Sum up ranks that count from 0; the median rank counts from 1.

        Ties can make a rank a fraction; R@1 then asks for 0 itself, as the published figures do.
        """
        r1, r5, r10 = (100 * float(hits.mean()) for hits in (ranks == 0, ranks < 5, ranks < 10))  # noqa: PLR2004 the K of R@K
        return cls(r1=r1, r5=r5, r10=r10, median_rank=float(np.median(ranks)) + 1)

    def to_json(self) -> dict[str, float]:
        """Return the names that papers use."""
        values = {"R@1": self.r1, "R@5": self.r5, "R@10": self.r10, "MdR": self.median_rank}
        return {name: round(value, 2) for name, value in values.items()}


def text_to_video_ranks(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank of each text's own video, (N,), from 0; ties are given the best rank.

    Args:
        similarity: (N, M), rows are texts.
    """
    num_texts, num_videos = similarity.shape
    own = np.arange(num_texts) // (num_texts // num_videos)
    truth = similarity[np.arange(num_texts), own]
    ranks: NDArray[np.float64] = (similarity > truth[:, None]).sum(axis=1).astype(np.float64)
    return ranks


def video_to_text_ranks(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank of each video's best text, (M,), from 0; ties are given their mean rank.

    Args:
        similarity: (N, M), rows are texts.
    """
    num_texts, num_videos = similarity.shape
    own = (np.arange(num_texts) // (num_texts // num_videos))[:, None] == np.arange(num_videos)
    ahead = (similarity[:, None] < similarity[None]).sum(axis=1)  # (N, M): texts that beat it
    level = (similarity[:, None] == similarity[None]).sum(axis=1)
    ranks = np.where(own, ahead + (level - 1) / 2, np.inf)
    best: NDArray[np.float64] = ranks.min(axis=0)
    return best


@dataclass(frozen=True)
class Gallery:
    """Held-out videos with one text each, embedded."""

    clips: Tensor
    tokens: Tokens
    texts: Tensor
    videos: Tensor

    @property
    def similarity(self) -> Tensor:
        """Rows are texts, (N, N)."""
        return self.texts @ self.videos.T


def evaluate_world(
    model: RetrievalModel, *, num_videos: int = 500, seed: int = 1
) -> dict[str, object]:
    """Measure a model on fresh procedural videos in families of four.

    Args:
        model: what is measured.
        num_videos: size of the gallery; each video is asked for by one text of the test split.
        seed: draws the videos.

    Returns:
        `t2v` and `v2t`, each with `dual_stream` and `reranked`, and `temporal_order`: the share
        of texts, in percent, that prefer their video to the same video run backward.
    """
    members = gallery(num_videos, seed)
    embedded = embed_gallery(model, members)
    similarity = embedded.similarity
    reranked = {"t2v": similarity.clone(), "v2t": similarity.clone()}
    candidates = {
        "t2v": _best_pairs(similarity, by_row=True),
        "v2t": _best_pairs(similarity, by_row=False),
    }
    order_pairs = _order_pairs(len(members))
    log_odds = match_pairs(model, embedded, candidates["t2v"] | candidates["v2t"] | order_pairs)
    for direction, pairs in candidates.items():
        _lift(reranked[direction], pairs, log_odds, model.spec)
    return {
        "t2v": {
            "dual_stream": Recall.of(text_to_video_ranks(similarity.numpy())).to_json(),
            "reranked": Recall.of(text_to_video_ranks(reranked["t2v"].numpy())).to_json(),
        },
        "v2t": {
            "dual_stream": Recall.of(video_to_text_ranks(similarity.numpy())).to_json(),
            "reranked": Recall.of(video_to_text_ranks(reranked["v2t"].numpy())).to_json(),
        },
        "temporal_order": _order(similarity, log_odds, len(members)),
    }


def embed_gallery(model: RetrievalModel, members: Sequence[Member]) -> Gallery:
    """Render and embed videos and their captions."""
    times = bin_centres(model.spec.frames_per_clip)
    clips = clips_to_tensor([render(m.story, times, model.spec.frame_size) for m in members])
    tokens = model.tokenize([member.caption.text for member in members])
    videos = [model.embed_video(part) for part in clips.split(EMBED_BATCH)]
    return Gallery(clips, tokens, model.embed_text(tokens), torch.cat(videos))


def match_pairs(
    model: RetrievalModel, embedded: Gallery, pairs: set[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """Return the log-odds of (text, video) pairs."""
    ordered = sorted(pairs)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(ordered), MATCH_BATCH):
        part = ordered[start : start + MATCH_BATCH]
        rows, columns = (torch.tensor(index) for index in zip(*part, strict=True))
        log_odds = model.match(embedded.tokens[rows], embedded.clips[columns])
        found.update(zip(part, log_odds.tolist(), strict=True))
    return found


def _best_pairs(similarity: Tensor, *, by_row: bool) -> set[tuple[int, int]]:
    """Return the (text, video) pairs that are re-ranked."""
    scores = similarity if by_row else similarity.T
    best = scores.topk(min(RERANK_DEPTH, scores.shape[1]), dim=1).indices.tolist()
    found = {(row, column) for row, columns in enumerate(best) for column in columns}
    return found if by_row else {(text, video) for video, text in found}


def _lift(
    scores: Tensor,
    pairs: set[tuple[int, int]],
    log_odds: dict[tuple[int, int], float],
    spec: RetrievalSpec,
) -> None:
    """Put re-ranked pairs before all others, in their new order, in place."""
    rows, columns = (torch.tensor(index) for index in zip(*sorted(pairs), strict=True))
    odds = torch.tensor([log_odds[pair] for pair in sorted(pairs)])
    lifted = spec.rerank_score(similarity=scores[rows, columns], log_odds=odds)
    scores[rows, columns] = lifted - lifted.min() + scores.max() + 1


def _order_pairs(num_members: int) -> set[tuple[int, int]]:
    """Return each first member and its twin, each text with both videos."""
    firsts = range(0, num_members - 1, FAMILY_SIZE)
    return {(first + i, first + j) for first in firsts for i in (0, 1) for j in (0, 1)}


def _order(
    similarity: Tensor, log_odds: dict[tuple[int, int], float], num_members: int
) -> dict[str, float]:
    right, dual_right, asked = 0, 0, 0
    for text, video in _order_pairs(num_members):
        if text != video:
            asked += 1
            right += log_odds[text, text] > log_odds[text, video]
            dual_right += bool(similarity[text, text] > similarity[text, video])
    return {
        "fused": round(100 * right / asked, 2),
        "dual_stream": round(100 * dual_right / asked, 2),
        "num_texts": asked,
    }
