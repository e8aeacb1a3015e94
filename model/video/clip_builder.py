"""Put decoded frames together into the clips of segments."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model.video.plan import SpanPlan
from model.video.transforms import Fit, Frame, Resample, to_square, to_thumbnail


class GoodFrame(Protocol):
    """A decoded, undamaged frame."""

    @property
    def rank(self) -> int:
        """Its place in the video."""

    @property
    def aspect(self) -> float:
        """Width of an upright pixel divided by its height."""

    def pixels(self) -> Frame:
        """Make its pixels, upright RGB, uint8 (H, W, 3)."""


AFTER_ALL = np.iinfo(np.int64).max


@dataclass(frozen=True)
class BuiltClip:
    """A finished clip: frames uint8 (T, S, S, 3) and a JPEG."""

    ordinal: int
    frames: Frame
    thumbnail: bytes


@dataclass
class _Open:
    """A clip that still waits for frames."""

    plan: SpanPlan
    squares: list[Frame | None]
    thumbnail: bytes | None = None


class ClipBuilder:
    """Takes decoded frames in display order and yields clips in order of segments.

    A wanted frame that was not decoded, or is damaged, is replaced by the nearest good frame
    of the segment. A segment without any good frame yields nothing.

    Args:
        plans: the frames that segments want.
        frame_size: side S of the squares.
        resize_short: the short side before the crop.
        thumbnail_px: longest side of the thumbnails.
        fit: how a frame becomes a square.
        resample: filter that it is resized with.
    """

    def __init__(
        self,
        plans: Sequence[SpanPlan],
        *,
        frame_size: int,
        resize_short: int,
        thumbnail_px: int,
        fit: Fit = "crop",
        resample: Resample = "bilinear",
    ) -> None:
        self.num_decoded = 0
        self.num_clips = 0
        self._plans = plans
        self._frame_size = frame_size
        self._resize_short = resize_short
        self._thumbnail_px = thumbnail_px
        self._fit: Fit = fit
        self._resample: Resample = resample
        self._open = [_Open(plan, [None] * len(plan.wanted)) for plan in plans]
        self._next = 0
        self._wants: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, plan in enumerate(plans):
            for slot, rank in enumerate(plan.wanted):
                self._wants[rank].append((place, slot))
        self._unpassed = sorted(self._wants, reverse=True)
        self._last_good: GoodFrame | None = None

    def add(self, frame: GoodFrame) -> Iterator[BuiltClip]:
        """Take a good frame; yield the clips that it completes."""
        self._pass_by(frame.rank, frame)
        if frame.rank in self._wants:
            wants = self._wants.pop(frame.rank)
            self.num_decoded += len(wants)
            self._give(wants, frame)
        self._last_good = frame
        yield from self._finished(frame.rank)

    def finish(self) -> Iterator[BuiltClip]:
        """Yield the remaining clips, as far as there are frames for them."""
        self._pass_by(AFTER_ALL, None)
        yield from self._finished(AFTER_ALL)

    def _pass_by(self, rank: int, following: GoodFrame | None) -> None:
        """Replace wanted frames before `rank` that never came."""
        while self._unpassed and self._unpassed[-1] < rank:
            lost = self._unpassed.pop()
            for place, slot in self._wants.pop(lost, ()):
                plan = self._plans[place]
                near = [
                    frame
                    for frame in (self._last_good, following)
                    if frame and plan.first <= frame.rank <= plan.last
                ]
                if near:
                    nearest = min(near, key=lambda frame: abs(frame.rank - lost))
                    self._give([(place, slot)], nearest)

    def _give(self, wants: Sequence[tuple[int, int]], frame: GoodFrame) -> None:
        pixels = frame.pixels()
        square = to_square(
            pixels,
            resize_short=self._resize_short,
            frame_size=self._frame_size,
            aspect=frame.aspect,
            fit=self._fit,
            resample=self._resample,
        )
        for place, slot in wants:
            clip = self._open[place]
            clip.squares[slot] = square
            if slot == len(clip.squares) // 2:
                clip.thumbnail = to_thumbnail(
                    pixels, longest_px=self._thumbnail_px, aspect=frame.aspect
                )

    def _finished(self, seen: int) -> Iterator[BuiltClip]:
        while self._next < len(self._plans) and self._is_over(self._next, seen):
            clip = self._open[self._next]
            self._open[self._next] = _Open(clip.plan, [])  # its pixels are not needed any more
            self._next += 1
            good = [slot for slot, square in enumerate(clip.squares) if square is not None]
            if not good:
                continue
            nearest = [
                min(good, key=lambda found, slot=slot: abs(found - slot))  # type: ignore[misc]
                for slot in range(len(clip.squares))
            ]
            frames = np.stack([clip.squares[slot] for slot in nearest])  # type: ignore[misc]
            self.num_clips += 1
            thumbnail = clip.thumbnail or to_thumbnail(
                frames[len(frames) // 2], longest_px=self._thumbnail_px
            )
            yield BuiltClip(clip.plan.span.ordinal, frames, thumbnail)

    def _is_over(self, place: int, seen: int) -> bool:
        clip = self._open[place]
        return seen >= clip.plan.wanted[-1] and (
            seen > clip.plan.last or all(square is not None for square in clip.squares)
        )
