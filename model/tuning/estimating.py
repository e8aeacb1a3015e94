"""What a tuning run would take: one step is measured, on clips of the right shape."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from model.bundle import load_trainable
from model.clip_store import ClipStore, all_captions
from model.data import Batch, RawBatch, collate
from model.memory import begin_peak, peak_since
from model.pairs import VideoPair, decode_clip
from model.trainable import TrainableBundle
from model.tuning import network as tuning_network
from model.tuning.choices import Choices, plan_for
from model.video.errors import VideoError

DECODED = 4
"""Clips that are decoded to see how long that takes."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would take.

    Attributes:
        steps: in all.
        batch: clips a step.
        clips: that would be trained on.
        captions: of these.
        new_words: that the tokenizer would learn.
        micro_batch: clips that fit into memory at a time; None: the whole batch.
        step_s: one step, seconds.
        seconds: all steps, without decoding and without the comparison.
        memory_bytes: most that was used by a step: of the device, or of the process on a CPU.
        decode_s: decoding all clips, seconds.
    """

    steps: int
    batch: int
    clips: int
    captions: int
    new_words: int
    micro_batch: int | None
    step_s: float
    seconds: float
    memory_bytes: int
    decode_s: float


def estimate(
    source: Path, pairs: Sequence[VideoPair], choices: Choices, *, device: str
) -> Estimate:
    """Take two steps with the real network and random pixels, and measure the second.

    Memory is that of the whole process on a CPU: estimate in a process of its own.

    Args:
        source: bundle to start from.
        pairs: that would be trained on; a few of their clips are decoded.
        choices: how.
        device: `cpu` or `cuda`.

    Raises:
        BundleError: the source is damaged, or of a family that is not trained here.
        TuningError: too few pairs, or choices that do not fit the network.
        TrainingError: memory does not hold a single clip.
    """
    on = torch.device(device)
    begun = begin_peak(on)
    before = load_trainable(source)
    bundle, new_words = tuning_network.grow(before, all_captions(pairs), choices)
    width: int = cast("Any", bundle.dims).width
    plan, batch = plan_for(len(pairs), choices, width=width)
    training, _ = tuning_network.start(bundle, replace(plan, learning_rate=1e-9), choices, on)
    drawn = _random_batch(bundle, pairs[:batch])
    duration_s = 0.0
    for _ in range(2):
        for step in training.run([drawn]):
            duration_s = step.duration_s
    return Estimate(
        steps=plan.steps,
        batch=batch,
        clips=len(pairs),
        captions=sum(len(pair.captions) for pair in pairs),
        new_words=new_words,
        micro_batch=training.micro_batch,
        step_s=duration_s,
        seconds=plan.steps * duration_s,
        memory_bytes=peak_since(on, begun),
        decode_s=_decode_s(before, pairs),
    )


def _random_batch(bundle: TrainableBundle, pairs: Sequence[VideoPair]) -> Batch:
    shape, count = bundle.preprocessing, len(pairs)
    pixels = (count, shape.frames_per_clip, shape.frame_size, shape.frame_size, 3)
    nothing = np.zeros((count, 0), np.int64)
    raw = RawBatch(
        clips=np.random.default_rng(0).integers(0, 256, pixels, dtype=np.uint8),
        texts=[pair.captions[0] for pair in pairs],
        groups=np.arange(count),
        is_true=np.eye(count, dtype=bool),
        clip_facts=nothing,
        text_facts=nothing,
    )
    return collate(raw, bundle.tokenizer, preprocessing=shape)


def _decode_s(bundle: TrainableBundle, pairs: Sequence[VideoPair]) -> float:
    """Decode some clips one by one; a run decodes as many at a time as its store has workers."""
    store = ClipStore(Path(), bundle.preprocessing)
    there = [pair for pair in pairs if pair.path.exists()]
    chosen = random.Random(0).sample(there, min(DECODED, len(there)))  # noqa: S311 - no secret
    started_s = time.perf_counter()
    for pair in chosen:
        try:
            decode_clip(pair, bundle.preprocessing, limits=store.limits)
        except VideoError:
            continue
    return (time.perf_counter() - started_s) / max(1, len(chosen)) * len(pairs) / store.workers
