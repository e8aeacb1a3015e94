"""Let a tokenizer of few words read those of the lexicon. Shapes: N words, D numbers of each."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from model.lexicon.reading import Lexicon

UNKNOWN = "[UNK]"
TURN = 20260101
"""Seed of how vectors are turned: the same for every bundle."""


def add_pieces(tokenizer: Tokenizer, lexicon: Lexicon, *, first: int) -> Tokenizer:
    """Return a tokenizer that reads the lexicon's pieces too.

    Args:
        tokenizer: of word pieces; left as it is.
        lexicon: whose pieces.
        first: id of the first new one, above all that the tokenizer has.
    """
    content = json.loads(tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    new = [piece for piece in lexicon.pieces if piece not in vocabulary]
    vocabulary.update({piece: first + index for index, piece in enumerate(new)})
    return Tokenizer.from_str(json.dumps(content))


def drop_pieces(tokenizer: Tokenizer, rows: int) -> Tokenizer:
    """Return a tokenizer without what `add_pieces` added.

    Args:
        tokenizer: of word pieces; left as it is.
        rows: how many ids it had before.
    """
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] = {
        piece: row for piece, row in content["model"]["vocab"].items() if row < rows
    }
    return Tokenizer.from_str(json.dumps(content))


def vectors_of(words: Sequence[str], lexicon: Lexicon) -> NDArray[np.float32]:
    """Return what words mean, float32 (N, D).

    The vector of a word that the lexicon lacks is the sum of those of its pieces; of what is no
    word, nothing.
    """
    rows = {piece: row for row, piece in enumerate(lexicon.pieces)}
    cutter = WordPiece({**rows, UNKNOWN: len(rows)}, unk_token=UNKNOWN)
    vectors = np.zeros((len(words), lexicon.vectors.shape[1]), np.float32)
    for index, word in enumerate(words):
        if word in rows:
            vectors[index] = lexicon.vectors[rows[word]]
        else:
            known = [token.id for token in cutter.tokenize(word) if token.id < len(rows)]
            vectors[index] = lexicon.vectors[known].sum(axis=0)
    return vectors


def spread(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return the same vectors in a space of another width, turned in a way that never changes.

    Where it is wide enough, lengths and angles stay. Turning lets every axis tell a little of
    everything, as those of a joint space do.

    Args:
        vectors: float32 (N, D).
        width: wanted.
    """
    draws = np.random.default_rng(TURN).standard_normal((max(vectors.shape[1], width),) * 2)
    turn, _ = np.linalg.qr(draws)
    return np.asarray(vectors @ turn[: vectors.shape[1], :width], np.float32)
