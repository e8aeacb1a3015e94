"""Shadow search: what would people find after a switch, compared with what they find now?"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np

from model.retrieval import RetrievalModel
from service.catalog.check_queries import read_blocks
from service.catalog.index_queries import SegmentKey
from service.catalog.session import Sessions
from workers.lease import Lease

NUM_TEXTS = 50
DEPTH = 10
PERSISTENCE = 0.9
"""How much the next rank counts in the rank-biased overlap (Webber et al., 2010)."""
NUM_EXAMPLES = 5
SHOWN_HITS = 3


def rank(
    network: RetrievalModel,
    generation_id: UUID,
    texts: Sequence[str],
    *,
    reads: Sessions,
    lease: Lease,
) -> list[list[SegmentKey]]:
    """Return the first hits of each text in a generation, by similarity, best first."""
    queries = network.embed_text(network.tokenize(texts)).numpy()  # (Q, E)
    scores = np.full((len(texts), 0), -np.inf, np.float32)
    keys: list[list[SegmentKey]] = [[] for _ in texts]
    with reads() as session:
        for block in read_blocks(session, generation_id):
            lease.check()
            found = np.concatenate([scores, queries @ block.vectors.T], axis=1)
            best = np.argsort(-found, axis=1, kind="stable")[:, :DEPTH]
            scores = np.take_along_axis(found, best, axis=1)
            for row, places in enumerate(best):
                all_keys = [*keys[row], *block.keys]
                keys[row] = [all_keys[place] for place in places]
    return keys


def compare(
    texts: Sequence[str],
    before: Sequence[Sequence[SegmentKey]],
    after: Sequence[Sequence[SegmentKey]],
) -> dict[str, Any]:
    """Compare two rankings of the same texts, for the report.

    Returns:
        How many texts; shares of the first ten hits that both have, of rank-biased overlap and of
        the same first hit (means over texts); the texts with the least in common.
    """
    pairs = [
        (text, old, new) for text, old, new in zip(texts, before, after, strict=True) if old or new
    ]
    if not pairs:
        return {"texts": 0}
    overlaps = [overlap(old, new) for _text, old, new in pairs]
    unlike = sorted(range(len(pairs)), key=lambda place: overlaps[place])[:NUM_EXAMPLES]
    return {
        "texts": len(pairs),
        "depth": DEPTH,
        "overlap_at_10": _mean(overlaps),
        "rank_biased_overlap": _mean([rank_biased_overlap(o, n) for _text, o, n in pairs]),
        "same_first": _mean([float(old[:1] == new[:1]) for _text, old, new in pairs]),
        "examples": [
            {
                "text": pairs[place][0],
                "overlap": round(overlaps[place], 3),
                "before": _shown(pairs[place][1]),
                "after": _shown(pairs[place][2]),
            }
            for place in unlike
        ],
    }


def overlap(old: Sequence[SegmentKey], new: Sequence[SegmentKey]) -> float:
    """Return the share of hits that two rankings have in common, whatever their order."""
    longest = max(len(old), len(new))
    return len(set(old) & set(new)) / longest if longest else 1.0


def rank_biased_overlap(old: Sequence[SegmentKey], new: Sequence[SegmentKey]) -> float:
    """Return how alike two rankings are, 0 to 1, their first ranks counting most.

    The agreement at the last depth is taken for all that follow (extrapolated RBO).
    """
    depth = max(len(old), len(new))
    agreements = [len(set(old[:place]) & set(new[:place])) / place for place in range(1, depth + 1)]
    weighed = sum(
        (1 - PERSISTENCE) * PERSISTENCE**place * agreement
        for place, agreement in enumerate(agreements)
    )
    return weighed + PERSISTENCE**depth * (agreements[-1] if agreements else 1.0)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _shown(keys: Sequence[SegmentKey]) -> list[dict[str, Any]]:
    return [{"video_id": str(key.video_id), "ordinal": key.ordinal} for key in keys[:SHOWN_HITS]]
