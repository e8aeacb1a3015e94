"""Tiny random networks and bundles for tests: real files, real tokenizer, nothing trained."""

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from model.all_in_one.dims import Dims
from model.all_in_one.network import AllInOne, build
from model.bundle import save_bundle
from model.preprocessing import Preprocessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *("a", "an", "the", "and", "then", "of", "in", "on", "to", "from", "with", "left", "right"),
    *("red", "green", "blue", "yellow", "circle", "square", "triangle", "dog", "cat", "ball"),
    *("moves", "grows", "shrinks", "appears", "run", "jump", "play", "##s", "##ing", "##ed"),
)
TINY_PREPROCESSING = Preprocessing(resize_short=38, frame_size=32, frames_per_clip=3)


def make_tokenizer() -> Tokenizer:
    """Make a lower-casing WordPiece tokenizer that can spell any word of a to z and 0 to 9."""
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*SPECIAL, *WORDS, *characters, *(f"##{c}" for c in string.ascii_lowercase)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return tokenizer


TINY = Dims(
    width=64,
    depth=2,
    heads=2,
    patch=8,
    frame_size=32,
    frames=3,
    max_text_tokens=16,
    vocabulary=make_tokenizer().get_vocab_size(),
    projection=32,
)


def make_tiny_network(seed: int = 0, dims: Dims = TINY) -> AllInOne:
    """Make a small random network that reacts to its input, words, patches and time included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(dims, temporal_init_std=0.5)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def make_tiny_bundle(
    folder: Path, seed: int = 0, dims: Dims = TINY, similarity_weight: float = 0.0
) -> Path:
    """Write a bundle of 3 frames of 32 px with random weights, and return its folder."""
    save_bundle(
        folder,
        network=make_tiny_network(seed, dims),
        dims=dims,
        preprocessing=TINY_PREPROCESSING,
        tokenizer_json=make_tokenizer().to_str(),
        card={"name": "tiny random", "seed": seed},
        similarity_weight=similarity_weight,
    )
    return folder
