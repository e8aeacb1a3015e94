"""How often a text prefers its video to one that differs from it in a single facet.

Captions are those of the test split; no family is one of a reported gallery.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from model.bundle import load_bundle
from model.measure import match_pairs, similarities
from model.retrieval import RetrievalModel, clips_to_tensor
from model.world.families import EVALUATION_DETAIL, Member, family
from model.world.render import bin_centres, render
from model.world.story import Facet

BUNDLED = Path(__file__).parents[1] / "model" / "bundled"


def main() -> None:
    """Print a line for each facet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=BUNDLED)
    parser.add_argument("--families", type=int, default=150, help="for each facet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_bundle(arguments.bundle)
    sys.stdout.write("| facet | dual stream | fused |\n|---|---|---|\n")
    for facet in Facet:
        members = [m for number in range(arguments.families) for m in pair(facet, number)]
        dual, fused = preferences(model, members)
        sys.stdout.write(f"| {facet} | {dual:.1f} | {fused:.1f} |\n")
        sys.stdout.flush()


def pair(facet: Facet, number: int) -> list[Member]:
    """Return a video and one that differs from it in a facet."""
    is_twin = facet is Facet.TIME
    facets = (Facet.KIND,) if is_twin else (facet,)
    while True:
        try:
            first, twin, other = family(
                f"facets/{number}", 3, split="test", detail=EVALUATION_DETAIL, facets=facets
            )
        except RuntimeError:  # the facet does not apply to this story
            number += 1_000_000
            continue
        return [first, twin if is_twin else other]


def preferences(model: RetrievalModel, members: list[Member]) -> tuple[float, float]:
    """Return the shares of texts, in percent, that prefer their video: dual stream, fused."""
    times = bin_centres(model.spec.frames_per_clip)
    clips = clips_to_tensor([render(m.story, times, model.spec.frame_size) for m in members])
    tokens = model.tokenize([member.caption.text for member in members])
    own = np.arange(len(members))
    other = own ^ 1
    similarity = similarities(model, tokens, clips)
    dual = similarity[own, own] > similarity[own, other]
    pairs = np.concatenate([own * len(own) + own, own * len(own) + other])
    right, wrong = np.split(match_pairs(model, tokens, clips, pairs), 2)
    return 100 * float(dual.mean()), 100 * float((right > wrong).mean())


if __name__ == "__main__":
    main()
