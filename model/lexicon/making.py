"""Make the lexicon from a sentence encoder: `python -m model.lexicon.making ENCODER`.

ENCODER is the folder of all-MiniLM-L6-v2 (Apache-2.0) as sentence-transformers stores it. Every
word and piece of its vocabulary is read by itself, and its vector shortened (as Model2Vec does,
github.com/MinishLab/model2vec): principal components, each divided by the square root of its
spread, and common words weighing less, by their place in the vocabulary, which is in the order of
frequency (as SIF does, "A simple but tough-to-beat baseline for sentence embeddings").
Shapes: N pieces, W width of the encoder, D numbers that are kept.
"""

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from model.lexicon.reading import FILE, Lexicon, write_lexicon

DIM = 96
PIECE = re.compile(r"(##)?[a-z0-9]+")
COMMON = 3000
"""The word at this place weighs half as much as the rarest."""
FIRST_PLACE = 900
"""Where BERT's vocabulary, after single signs, begins to count."""
BATCH = 512
FACTS = {
    "made_from": "sentence-transformers/all-MiniLM-L6-v2, its vocabulary and weights",
    "license": "Apache-2.0",
    "made_by": "python -m model.lexicon.making",
}


def main() -> None:
    """Make the lexicon and say how large it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder", type=Path, help="folder with all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    lexicon = make(given.encoder)
    write_lexicon(lexicon, given.out, FACTS)
    size_bytes = given.out.stat().st_size
    told = f"{len(lexicon.pieces)} words and pieces, {size_bytes} bytes: {given.out}"
    print(told)  # noqa: T201 - what the command is for


def make(encoder: Path) -> Lexicon:
    """Return the lexicon of an encoder.

    Args:
        encoder: folder of weights, configuration and tokenizer of a BERT.
    """
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    places = {piece: at for piece, at in tokenizer.get_vocab().items() if PIECE.fullmatch(piece)}
    pieces = sorted(places, key=places.__getitem__)
    ids = torch.tensor([places[piece] for piece in pieces])
    features = _read_alone(encoder, ids, tokenizer.cls_token_id, tokenizer.sep_token_id)
    place = np.maximum(ids.numpy() - FIRST_PLACE, 1)
    return Lexicon(tuple(pieces), shorten(features, place / (place + COMMON)))


def shorten(features: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return few numbers for many that tell about the same.

    Args:
        features: of any length, (N, W).
        weights: how much each piece says, (N,).

    Returns:
        (N, D), or (N, W) if there are no more; on average as long as the weight.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    short = centred @ axes[:DIM].T / np.sqrt(spread[:DIM])
    short /= np.linalg.norm(short, axis=1).mean()
    return np.asarray(short * weights[:, None], np.float32)


@torch.inference_mode()
def _read_alone(encoder: Path, ids: torch.Tensor, first: int, last: int) -> NDArray[np.float32]:
    """Return what the encoder makes of every piece by itself, (N, W)."""
    network = AutoModel.from_pretrained(encoder, local_files_only=True).eval()
    read = []
    for some in ids.split(BATCH):
        ends = torch.full_like(some, first), torch.full_like(some, last)
        texts = torch.stack((ends[0], some, ends[1]), dim=1)  # (b, 3)
        found = network(input_ids=texts, attention_mask=torch.ones_like(texts))
        read.append(found.last_hidden_state.mean(dim=1))
    features: NDArray[np.float32] = torch.cat(read).float().numpy()
    return features


if __name__ == "__main__":
    main()
