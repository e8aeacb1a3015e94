"""How well a model finds procedural videos, and whether it knows forward from backward."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.measure import (
    RERANK_DEPTH,
    Gallery,
    Progress,
    Scores,
    match_pairs,
    measure,
    no_progress,
    similarities,
)
from model.report import Report
from model.retrieval import RetrievalModel, clips_to_tensor
from model.world.families import FAMILY_SIZE, gallery
from model.world.render import bin_centres, render


@dataclass(frozen=True)
class WorldReport:
    """What was found in a gallery of families.

    Attributes:
        report: recall, every way the model can search.
        temporal_order: share of texts, percent, that prefer their video to the same one run
            backward, by pass (`fused`, `dual_stream`), and `num_texts`.
    """

    report: Report
    temporal_order: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the report's keys and `temporal_order`."""
        return {**self.report.to_json(), "temporal_order": self.temporal_order}


def evaluate_world(
    model: RetrievalModel, *, num_videos: int = 500, seed: int = 1
) -> dict[str, Any]:
    """Measure a model on fresh procedural videos in families of four.

    Args:
        model: what is measured.
        num_videos: size of the gallery; each video is asked for by one text of the test split.
        seed: draws the videos.

    Returns:
        `t2v` and `v2t`, each with `dual_stream` and `reranked` as far as the model can, and
        `temporal_order`: the share of texts, in percent, that prefer their video to the same
        video run backward.
    """
    return measure_world(model, num_videos=num_videos, seed=seed).to_json()


def measure_world(
    model: RetrievalModel,
    *,
    num_videos: int,
    seed: int,
    depths: Sequence[int] = (RERANK_DEPTH,),
    full_fused: bool = False,
    progress: Progress = no_progress,
) -> WorldReport:
    """Do what `evaluate_world` does, in more ways; see `model.measure.measure`."""
    made = world_gallery(model, num_videos, seed)
    report = measure(model, made, depths=depths, full_fused=full_fused, progress=progress)
    return WorldReport(report, temporal_order(model, made))


def world_gallery(model: RetrievalModel, num_videos: int, seed: int) -> Gallery:
    """Render held-out videos as the model reads them; families are drawn together."""
    members = gallery(num_videos, seed)
    times = bin_centres(model.spec.frames_per_clip)
    clips = [render(member.story, times, model.spec.frame_size) for member in members]
    numbers = np.arange(len(members))
    texts = [member.caption.text for member in members]
    return Gallery(texts, clips_to_tensor(clips), numbers, groups=numbers // FAMILY_SIZE)


def temporal_order(model: RetrievalModel, made: Gallery) -> dict[str, float]:
    """Return how often a text prefers its video to the same one run backward."""
    numbers = np.arange(len(made.clips) - len(made.clips) % 2)
    chosen = torch.from_numpy(numbers[numbers % FAMILY_SIZE < 2])  # noqa: PLR2004 first and twin
    clips = made.clips[chosen]
    tokens = model.tokenize([made.texts[number] for number in chosen])
    own = np.arange(len(chosen))
    twins = own ^ 1
    found: dict[str, float] = {}
    if model.spec.has_matcher:
        pairs = np.concatenate([own * len(own) + own, own * len(own) + twins])
        log_odds = match_pairs(model, tokens, clips, pairs)
        found["fused"] = _share_above(*np.split(log_odds, 2))
    if model.spec.has_retriever:
        similarity = similarities(model, tokens, clips)
        found["dual_stream"] = _share_above(similarity[own, own], similarity[own, twins])
    return {**found, "num_texts": len(own)}


def _share_above(right: Scores, wrong: Scores) -> float:
    return round(100 * float((right > wrong).mean()), 2)
