"""The lexicon: English words and pieces of words, each with a vector of what it means.

Words of like meaning have like vectors, and the longer a vector, the more its word says: that of
"the" is short. So the sum of a text's vectors tells roughly what the text is about. The vectors
come from a sentence encoder (see `model.lexicon.making`). Shapes: N pieces, D numbers of each.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

FILE = Path(__file__).with_name("english.safetensors")
STEPS = 127
"""Vectors are kept as whole numbers of up to this, times a scale of their own."""


@dataclass(frozen=True)
class Lexicon:
    """Words and pieces of words with their vectors.

    Attributes:
        pieces: those that continue a word begin with `##`, as in BERT's vocabulary.
        vectors: one for each, float32 (N, D).
    """

    pieces: tuple[str, ...]
    vectors: NDArray[np.float32]


@cache
def read_lexicon(path: Path = FILE) -> Lexicon:
    """Read a lexicon; the same file is read once."""
    with safe_open(path, framework="numpy") as stored:
        pieces = bytes(stored.get_tensor("pieces")).decode().split("\n")
        steps, scales = stored.get_tensor("steps"), stored.get_tensor("scales")
    return Lexicon(tuple(pieces), steps.astype(np.float32) * scales[:, None].astype(np.float32))


def write_lexicon(lexicon: Lexicon, path: Path, facts: dict[str, str]) -> None:
    """Write a lexicon, one byte for each number of a vector.

    Args:
        lexicon: what to write.
        path: where.
        facts: where it is from, kept in the file.
    """
    scales = (np.abs(lexicon.vectors).max(axis=1) / STEPS).astype(np.float32)
    steps = np.rint(lexicon.vectors / np.maximum(scales, 1e-12)[:, None]).astype(np.int8)
    pieces = np.frombuffer("\n".join(lexicon.pieces).encode(), np.uint8)
    save_file({"pieces": pieces, "steps": steps, "scales": scales}, path, facts)
