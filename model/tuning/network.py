"""The network that is tuned: made from a bundle, trained by a recipe, saved as a bundle."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch

from model.adapting import adapt, fresh_parts
from model.bundle import save_bundle
from model.bundle_files import CARD, read_json
from model.clip_store import ClipStore
from model.masking import WordMasker
from model.pairs import VideoPair
from model.plan import Plan
from model.recipes.clover import CloverObjectives, CloverRecipe
from model.recipes.native import NativeObjectives, NativeRecipe
from model.semantic_masking import SemanticMasker
from model.settling import settle
from model.train import Training
from model.trainable import TrainableBundle
from model.tuning.choices import Choices, TuningError
from model.weight_groups import freeze
from model.word_dropout import forget_spelling

AnyRecipe = NativeRecipe | CloverRecipe
AnyObjectives = NativeObjectives | CloverObjectives
SETTLED_AT_ONCE = 16
"""Clips that go through the network together at the end."""
CLOSENESS = 5.0
"""Weight of a clip's closeness to its text, with a lexicon: chosen on captions without clips."""


def grow(
    before: TrainableBundle, captions: Iterable[str], choices: Choices
) -> tuple[TrainableBundle, int]:
    """Return the bundle with all that training needs, and how many words are new.

    Args:
        before: its network is not used any more afterwards.
        captions: what training reads.
        choices: what a person chose.

    Raises:
        TuningError: what is to be frozen is not there, or is everything.
    """
    bundle, new_words = adapt(
        before,
        captions,
        needs_joint_heads=choices.recipe == "clover",
        dropout=choices.dropout,
        seed=choices.seed,
    )
    reads_all_words = getattr(bundle.dims, "lexicon", 0)
    if choices.word_dropout and new_words and not reads_all_words:
        bundle = replace(bundle, tokenizer=forget_spelling(bundle.tokenizer))
    try:
        freeze(bundle.network, choices.frozen)
    except ValueError as error:
        raise TuningError(f"frozen: {error}") from error
    return bundle, new_words


def start(
    bundle: TrainableBundle, plan: Plan, choices: Choices, device: torch.device
) -> tuple[Training[AnyRecipe], AnyObjectives]:
    """Return a fresh run on a device, and what is learned."""
    network = bundle.network.to(device)
    words = cast("Any", bundle.dims).vocabulary
    recipe: AnyRecipe
    if choices.recipe == "clover":
        masker = SemanticMasker(bundle.tokenizer, words=words)
        recipe = CloverRecipe(network=network, masker=masker, objectives=CloverObjectives())
    else:
        recipe = NativeRecipe(
            network=network,
            masker=WordMasker.of(bundle.tokenizer, words=words),
            objectives=NativeObjectives(closeness_weight=_closeness_weight(bundle)),
            num_special=getattr(bundle.dims, "num_special", 0),
        )
    return Training(recipe=recipe, plan=plan), recipe.objectives


def _closeness_weight(bundle: TrainableBundle) -> float:
    """Return how much a clip is to come close to its text: where it is known what words mean."""
    return CLOSENESS if getattr(bundle.dims, "lexicon", 0) else 0.0


def finish(
    training: Training[AnyRecipe],
    bundle: TrainableBundle,
    store: ClipStore,
    pairs: Sequence[VideoPair],
) -> None:
    """Give the network the running average of its weights, and let clips settle by their texts.

    Args:
        training: that is over.
        bundle: what was trained.
        store: has the clips.
        pairs: that may be learned from, each with a caption.
    """
    bundle.network.load_state_dict(training.average)
    if getattr(bundle.dims, "lexicon", 0):
        parts = [pairs[at : at + SETTLED_AT_ONCE] for at in range(0, len(pairs), SETTLED_AT_ONCE)]
        clips = (torch.from_numpy(store.load(part)) for part in parts)
        settle(bundle, clips, [pair.captions for pair in pairs])


def save(
    out: Path,
    training: Training[AnyRecipe],
    bundle: TrainableBundle,
    *,
    source: Path,
    before: TrainableBundle,
    name: str,
    facts: Mapping[str, Any],
) -> str:
    """Write what was trained, and finished, as a bundle and return its digest.

    Args:
        out: the folder; its card is written last.
        training: that is over.
        bundle: what was trained.
        source: folder of the bundle that training began with.
        before: that bundle.
        name: of the new one, for its card.
        facts: of the run, for its card.
    """
    origin = read_json(source / CARD)
    return save_bundle(
        out,
        network=bundle.network,
        dims=bundle.dims,
        preprocessing=bundle.preprocessing,
        tokenizer_json=bundle.tokenizer.to_str(),
        card={
            "name": name,
            "tuned_from": {"name": origin.get("name"), "digest": origin.get("digest")},
            "license": origin.get("license"),
            **facts,
            "plan": asdict(training.plan),
            "steps": training.step,
            "changed_sizes": fresh_parts(before.dims, bundle.dims),
        },
        similarity_weight=bundle.similarity_weight,
    )
