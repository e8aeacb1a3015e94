"""Fit a network from a bundle to what it is to be trained for: more words, missing heads."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from model.growing import grow_rows, grow_vocabulary, is_closed
from model.lexicon.fitting import UNKNOWN, add_pieces, drop_pieces, spread, vectors_of
from model.lexicon.reading import read_lexicon
from model.trainable import Sizes, TrainableBundle
from model.word_dropout import forget_spelling

HEADS = ("has_projections", "has_matching_head", "has_mlm_head")
JOINT_HEADS = "has_joint_heads"
MEANINGS = "word_meanings.table"


def adapt(
    bundle: TrainableBundle,
    captions: Iterable[str],
    *,
    needs_joint_heads: bool,
    dropout: float,
    seed: int,
) -> tuple[TrainableBundle, int]:
    """Return the bundle with every head that training needs and room for every word.

    What the bundle lacks starts from fresh weights: a bundle that can only match gets projections
    to a joint space, one that never learned Clover's objectives gets their heads. A network that
    can use a lexicon, and was made for few words, gets what all other words mean.

    Args:
        bundle: its network is not used any more afterwards.
        captions: what training reads.
        needs_joint_heads: whether the recipe is Clover's.
        dropout: probability of dropout in training.
        seed: draws fresh weights.

    Returns:
        the bundle, and how many words are new.
    """
    old = cast("Any", bundle.dims)
    own_words = drop_pieces(bundle.tokenizer, old.vocabulary) if _has_lexicon(old) else None
    tokenizer, new_words = grow_vocabulary(own_words or bundle.tokenizer, captions)
    changes: dict[str, Any] = dict.fromkeys(HEADS, True)
    changes["vocabulary"] = old.vocabulary + new_words
    if needs_joint_heads:
        changes[JOINT_HEADS] = True
    meanings = None
    if _can_use_lexicon(old, own_words or bundle.tokenizer):
        tokenizer, meanings = _add_lexicon(tokenizer, changes["vocabulary"], old.projection)
        changes |= {"lexicon": len(meanings), "unknown": tokenizer.token_to_id(UNKNOWN)}
    dims: Sizes = replace(old, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _builder(dims)(dims, dropout=dropout)
    generator = torch.Generator().manual_seed(seed)
    state = _take_over(bundle.network.state_dict(), network, generator)
    if meanings is not None:
        state[MEANINGS] = meanings
    network.load_state_dict(state)
    tokenizer.enable_truncation(old.max_text_tokens)
    tokenizer.no_padding()
    adapted = TrainableBundle(
        network, dims, bundle.preprocessing, tokenizer, bundle.similarity_weight
    )
    return adapted, new_words


def fresh_parts(before: Sizes, after: Sizes) -> list[str]:
    """Name the sizes that differ, for a card."""
    old, new = asdict(cast("Any", before)), asdict(cast("Any", after))
    return [name for name, value in new.items() if old[name] != value]


def _has_lexicon(dims: Any) -> bool:
    return bool(getattr(dims, "lexicon", 0))


def _can_use_lexicon(dims: Any, tokenizer: Tokenizer) -> bool:
    """Tell whether the network has a place for it, and a tokenizer of few words to add it to."""
    return hasattr(dims, "lexicon") and is_closed(tokenizer)


def _add_lexicon(tokenizer: Tokenizer, vocabulary: int, width: int) -> tuple[Tokenizer, Tensor]:
    """Let the tokenizer read every word, and return what its tokens mean, (R, width).

    Words are cut into the lexicon's pieces then, which makes the network's own letters useless.

    Args:
        tokenizer: of the network's own words.
        vocabulary: rows of the network's word table.
        width: of the joint space.
    """
    lexicon = read_lexicon()
    reading = add_pieces(forget_spelling(tokenizer), lexicon, first=vocabulary)
    rows = reading.get_vocab(with_added_tokens=True)
    words = [""] * (1 + max(rows.values()))
    for word, row in rows.items():
        words[row] = word
    return reading, torch.from_numpy(spread(vectors_of(words, lexicon), width))


def _builder(dims: Sizes) -> Callable[..., nn.Module]:
    """Return what builds a network of these sizes; families are imported when they are needed."""
    build: Callable[..., nn.Module] = import_module(f"model.{dims.family}.network").build
    return build


def _take_over(
    state: dict[str, Tensor], network: nn.Module, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the old weights, tables grown, and fresh ones for what is new."""
    taken: dict[str, Tensor] = {}
    for name, fresh in network.state_dict().items():
        if name not in state:
            taken[name] = fresh
        elif state[name].shape == fresh.shape:
            taken[name] = state[name]
        else:
            taken[name] = grow_rows(state[name], len(fresh), generator)
    return taken
