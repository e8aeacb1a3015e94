"""Held-out pairs as a gallery: distinct clips, decoded once for each shape that a model reads.

Shapes: N texts, M clips, T frames, S frame side.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.clip_store import ClipStore
from model.datasets.clips import ClipFile
from model.measure import Gallery, Progress
from model.pairs import VideoPair
from model.preprocessing import Preprocessing
from model.retrieval import RetrievalSpec

ROWS_AT_ONCE = 32
MOST_TEXTS = 2_000
"""More do not narrow the intervals by much, and every one costs 32 fused passes of each model."""


@dataclass(frozen=True, kw_only=True)
class HeldOutPair:
    """A text and the moment that it describes, which training has not seen together.

    Attributes:
        video_id: whose video it is about.
        path: the video's file.
        text: what is asked.
        start_s: where the moment begins, seconds; None: with the video.
        end_s: where it ends; None: with the video.
        group: near-duplicate videos have the same; None: no other is like it.
    """

    video_id: str
    path: Path
    text: str
    start_s: float | None = None
    end_s: float | None = None
    group: int | None = None

    @property
    def clip(self) -> VideoPair:
        """What is decoded for it."""
        return VideoPair(
            path=self.path, captions=(self.text,), start_s=self.start_s or 0.0, end_s=self.end_s
        )

    @property
    def key(self) -> tuple[str, float, float | None]:
        """What names its clip: texts of one clip share it."""
        return self.video_id, self.start_s or 0.0, self.end_s


@dataclass(frozen=True)
class HeldOut:
    """Held-out pairs that can be compared on.

    Attributes:
        pairs: the texts, N.
        owners: index of the clip of each text, (N,).
        clips: the distinct clips, M.
        groups: near-duplicates and clips of one video have the same, (M,).
        left_out: videos of which a clip cannot be decoded, and why.
        num_asked: texts that there were before some were left out or passed over.
    """

    pairs: tuple[HeldOutPair, ...]
    owners: NDArray[np.int64]
    clips: tuple[HeldOutPair, ...]
    groups: NDArray[np.int64]
    left_out: tuple[tuple[str, str], ...]
    num_asked: int

    @property
    def texts(self) -> list[str]:
        """The queries, N."""
        return [pair.text for pair in self.pairs]

    @property
    def text_groups(self) -> NDArray[np.int64]:
        """Group of each text, (N,)."""
        found: NDArray[np.int64] = self.groups[self.owners]
        return found

    @property
    def num_videos(self) -> int:
        """How many videos the texts are about."""
        return len({pair.video_id for pair in self.pairs})

    def gallery(self, store: ClipStore, scratch: Path) -> Gallery:
        """Return the clips as a model reads them, with their texts."""
        shape = store.preprocessing
        pixels = scratch_file(scratch, len(self.clips), shape.frames_per_clip, shape.frame_size)
        for start in range(0, len(self.clips), ROWS_AT_ONCE):
            some = self.clips[start : start + ROWS_AT_ONCE]
            pixels[start : start + len(some)] = store.load([pair.clip for pair in some])
        rows = torch.arange(len(self.clips))
        return Gallery(self.texts, ClipFile(pixels, rows), self.owners, groups=self.groups)


def gather(
    held_out: Sequence[HeldOutPair],
    stores: Sequence[ClipStore],
    *,
    seed: int,
    progress: Progress,
    most_texts: int = MOST_TEXTS,
) -> HeldOut:
    """Decode held-out clips for every shape, and leave out what cannot be decoded.

    Args:
        held_out: texts and their moments.
        stores: one for each clip shape that is needed.
        seed: draws the videos that are asked about if there are very many.
        progress: told how far it is.
        most_texts: that are asked.
    """
    drawn = _draw(held_out, seed, most_texts)
    clips = list({pair.key: pair for pair in drawn}.values())
    broken: dict[tuple[str, float, float | None], str] = {}
    for store in stores:
        _usable, left_out = store.check(
            [pair.clip for pair in clips], lambda done: progress("clips decoded", done, len(clips))
        )
        reasons = {
            (one.pair.path, one.pair.start_s, one.pair.end_s): one.reason for one in left_out
        }
        for pair in clips:
            spot = pair.clip
            if reason := reasons.get((spot.path, spot.start_s, spot.end_s)):
                broken.setdefault(pair.key, reason)
    usable = [pair for pair in clips if pair.key not in broken]
    places = {pair.key: place for place, pair in enumerate(usable)}
    pairs = tuple(pair for pair in drawn if pair.key in places)
    return HeldOut(
        pairs=pairs,
        owners=np.array([places[pair.key] for pair in pairs], np.int64),
        clips=tuple(usable),
        groups=_number([_group(pair) for pair in usable]),
        left_out=tuple({key[0]: reason for key, reason in broken.items()}.items()),
        num_asked=len(held_out),
    )


def store_for(spec: RetrievalSpec, folder: Path) -> ClipStore:
    """Return where clips are kept as a model reads them."""
    preprocessing = Preprocessing(
        resize_short=spec.resize_short,
        frame_size=spec.frame_size,
        frames_per_clip=spec.frames_per_clip,
        mean=spec.mean,
        std=spec.std,
        fit=spec.fit,
        resample=spec.resample,
    )
    return ClipStore(folder, preprocessing)


def scratch_file(folder: Path, count: int, frames: int, side: int) -> np.memmap:
    """Return room for clips, uint8 (count, T, S, S, 3), in a file that ends with the process."""
    with tempfile.TemporaryFile(dir=folder) as stream:
        return np.memmap(stream, np.uint8, "w+", shape=(max(1, count), frames, side, side, 3))


def _draw(held_out: Sequence[HeldOutPair], seed: int, most: int) -> list[HeldOutPair]:
    """Take whole groups, in a drawn order, until there are enough texts."""
    if len(held_out) <= most:
        return list(held_out)
    groups = _number([_group(pair) for pair in held_out])
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    counts = np.bincount(groups)[order]
    taken = order[: max(1, int(np.searchsorted(counts.cumsum(), most, side="right")))]
    return [held_out[place] for place in np.flatnonzero(np.isin(groups, taken)).tolist()]


def _group(pair: HeldOutPair) -> str | int:
    return pair.video_id if pair.group is None else pair.group


def _number(names: Sequence[str | int]) -> NDArray[np.int64]:
    """Return a number for each name, equal ones alike."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
