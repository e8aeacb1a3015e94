"""Fit a network from a bundle to what it is to be trained for: more words, missing heads."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, nn

from model.growing import grow_rows, grow_vocabulary
from model.trainable import Sizes, TrainableBundle

HEADS = ("has_projections", "has_matching_head", "has_mlm_head")
JOINT_HEADS = "has_joint_heads"


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
    to a joint space, one that never learned Clover's objectives gets their heads.

    Args:
        bundle: its network is not used any more afterwards.
        captions: what training reads.
        needs_joint_heads: whether the recipe is Clover's.
        dropout: probability of dropout in training.
        seed: draws fresh weights.

    Returns:
        the bundle, and how many words are new.
    """
    tokenizer, new_words = grow_vocabulary(bundle.tokenizer, captions)
    old = cast("Any", bundle.dims)
    changes: dict[str, Any] = dict.fromkeys(HEADS, True)
    changes["vocabulary"] = old.vocabulary + new_words
    if needs_joint_heads:
        changes[JOINT_HEADS] = True
    dims: Sizes = replace(old, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _builder(dims)(dims, dropout=dropout)
    generator = torch.Generator().manual_seed(seed)
    network.load_state_dict(_take_over(bundle.network.state_dict(), network, generator))
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
