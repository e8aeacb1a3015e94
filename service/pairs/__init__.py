"""Pairs of text and moment: what a tuning learns from."""

from service.pairs.collecting import Pair, PairFilter, PairSource, collect_pairs
from service.pairs.splitting import HoldOut, Split, duplicate_groups, split_pairs

__all__ = [
    "HoldOut",
    "Pair",
    "PairFilter",
    "PairSource",
    "Split",
    "collect_pairs",
    "duplicate_groups",
    "split_pairs",
]
