"""What must be said beside the figures of `evaluate`, lest they be misread."""

from collections.abc import Sequence
from typing import Any

from model.datasets.items import shown
from model.retrieval import RetrievalModel, RetrievalSpec


def count_full_texts(network: RetrievalModel, texts: Sequence[str]) -> int:
    """Return how many texts fill all the tokens that a model reads: some of them were cut."""
    lengths = network.tokenize(texts).mask.sum(dim=1)
    return int((lengths >= network.spec.max_text_tokens).sum())


def notes_on_model(spec: RetrievalSpec) -> list[str]:
    """Say why streams that somebody may expect are not there."""
    if not spec.has_matcher:
        return ["This bundle has no fused pass: there is nothing to re-rank with."]
    if not spec.has_retriever:
        why = "This bundle has no joint space, so there is no dual stream and nothing to re-rank: "
        return [why + "every text was matched with every video."]
    return []


def notes_on_dataset(spec: RetrievalSpec, facts: dict[str, Any]) -> list[str]:
    """Say what makes the figures differ from those of papers."""
    notes = []
    for key, what in (("missing", "not there"), ("unreadable", "not decodable")):
        if facts[key]:
            notes.append(
                f"Left out because {what}: {shown(facts[key])}. A smaller gallery is easier: "
                "these are not the figures of the whole split."
            )
    if facts["limit"]:
        notes.append(
            f"Not the whole split, only {facts['limit']} of its videos: "
            "a smaller gallery is easier."
        )
    if facts["damaged"]:
        notes.append(f"Damaged, and used as far as they go: {shown(facts['damaged'])}.")
    num_full = facts["texts_that_fill_the_model"]
    if num_full:
        notes.append(
            f"{num_full} text{' fills' if num_full == 1 else 's fill'} all {spec.max_text_tokens} "
            "tokens that the model reads; what is longer was cut off."
        )
    return notes
