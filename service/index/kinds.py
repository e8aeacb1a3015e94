"""Kinds of bases: flat ones scan everything, near ones look where the answer is likely to be."""

from typing import Literal

FlatKind = Literal["flat_fp16", "flat_fp32", "flat_int8"]
NearKind = Literal["hnsw", "ivf_flat", "ivf_pq"]
BaseKind = FlatKind | NearKind
IndexKind = Literal["auto"] | BaseKind

NEAR_KINDS: tuple[NearKind, ...] = ("hnsw", "ivf_flat", "ivf_pq")
GRAPH_UP_TO = 3_000_000
"""Segments above which `auto` builds cells at once: a graph takes too long to build."""


def flat_kind(wanted: IndexKind) -> FlatKind:
    """Return how a base is loaded: exact at first, whatever it becomes."""
    if wanted == "flat_fp32" or wanted == "flat_int8":  # noqa: PLR1714 (mypy narrows this)
        return wanted
    return "flat_fp16"


def near_kinds(
    wanted: IndexKind, num_segments: int, *, flat_below: int, near_floor: int
) -> tuple[NearKind, ...]:
    """Return the kinds to try on a base, the first that is good enough is taken.

    Args:
        wanted: the setting.
        num_segments: of the base.
        flat_below: `auto` keeps a smaller base flat.
        near_floor: a smaller base stays flat whatever is wanted; there is nothing to gain.
    """
    if num_segments < near_floor:
        return ()
    if wanted == "auto":
        if num_segments < flat_below:
            return ()
        return ("hnsw", "ivf_flat") if num_segments <= GRAPH_UP_TO else ("ivf_flat",)
    return tuple(kind for kind in NEAR_KINDS if kind == wanted)


def fits(kind: str, wanted: IndexKind) -> bool:
    """Tell whether a base of this kind may be begun with where another was perhaps wanted."""
    if wanted == "auto":
        return kind in {"flat_fp16", "hnsw", "ivf_flat"}
    return kind in {wanted, flat_kind(wanted)}
