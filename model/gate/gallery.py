"""The live gallery: stored clips of indexed segments.

Shapes: N texts, M segments, T frames, S frame side.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.calibration import Flags
from model.composite import adapt_clips, field_of_view
from model.datasets.clips import ClipFile
from model.gate.pairs import HeldOutPair, scratch_file
from model.measure import Clips
from model.retrieval import RetrievalSpec
from model.video.transforms import Fit, Resample

MIN_OVERLAP_S = 0.5
MIN_SHARE = 0.5
"""A segment shows a moment if they overlap by half a second, or by half of a shorter moment."""


class GalleryError(ValueError):
    """The gallery cannot be searched; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How stored clips were cut; see `Preprocessing`."""

    frames_per_clip: int
    frame_size: int
    resize_short: int
    fit: Fit = "crop"
    resample: Resample = "bilinear"

    @classmethod
    def of(cls, spec: RetrievalSpec) -> "Cut":
        """Return how a model wants its clips cut."""
        return cls(
            frames_per_clip=spec.frames_per_clip,
            frame_size=spec.frame_size,
            resize_short=spec.resize_short,
            fit=spec.fit,
            resample=spec.resample,
        )


@dataclass(frozen=True, kw_only=True)
class GallerySegment:
    """One indexed segment.

    Attributes:
        video_id: of its video.
        ordinal: in its video.
        start_s: where it begins, seconds.
        end_s: where it ends.
        clips_path: file of its video's clips, uint8 (segments, T, S, S, 3), as numpy saves it.
        position: its row in that file.
    """

    video_id: str
    ordinal: int
    start_s: float
    end_s: float
    clips_path: Path
    position: int

    def answers(self, pair: HeldOutPair) -> bool:
        """Tell whether it shows the moment that a text describes."""
        if self.video_id != pair.video_id:
            return False
        if pair.start_s is None and pair.end_s is None:
            return True
        start_s = pair.start_s or 0.0
        end_s = np.inf if pair.end_s is None else pair.end_s
        overlap_s = min(self.end_s, end_s) - max(self.start_s, start_s)
        return bool(overlap_s >= min(MIN_OVERLAP_S, MIN_SHARE * (end_s - start_s)))


@dataclass(frozen=True)
class LiveGallery:
    """Segments of the running index.

    Attributes:
        cut: how all of their clips were cut.
        segments: in any order.
    """

    cut: Cut
    segments: Sequence[GallerySegment] = field(default_factory=tuple)


def write_gallery(path: Path, gallery: LiveGallery) -> None:
    """Write a gallery as JSON Lines: how clips were cut, then a segment a line."""
    lines = [{"cut": asdict(gallery.cut)}, *(asdict(segment) for segment in gallery.segments)]
    path.write_text(
        "".join(json.dumps(line, default=str) + "\n" for line in lines), encoding="utf-8"
    )


def read_gallery(path: Path) -> LiveGallery:
    """Read what `write_gallery` wrote.

    Raises:
        GalleryError: it is missing or damaged.
    """
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in rest]
        return LiveGallery(
            Cut(**json.loads(first)["cut"]),
            tuple(GallerySegment(**{**row, "clips_path": Path(row["clips_path"])}) for row in rows),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GalleryError(f"{path} cannot be used: {error}") from error


@dataclass(frozen=True)
class Shelf:
    """The segments of a gallery whose clips are still there, with their clips.

    Attributes:
        cut: how the clips were cut.
        segments: M.
        clips: of each.
    """

    cut: Cut
    segments: Sequence[GallerySegment]
    clips: Clips

    def clips_for(self, spec: RetrievalSpec) -> Clips:
        """Return the clips as a model reads them; call `refuse` first."""
        if Cut.of(spec) == self.cut:
            return self.clips
        return _Adapted(self.clips, replace(spec, **asdict(self.cut)), spec)

    def answers(self, pairs: Sequence[HeldOutPair]) -> tuple[Flags, Flags]:
        """Return which segments answer which text, and which are of its video, both (N, M)."""
        is_right, is_own = np.zeros((2, len(pairs), len(self.segments)), np.bool_)
        of_video: dict[str, list[int]] = {}
        for place, segment in enumerate(self.segments):
            of_video.setdefault(segment.video_id, []).append(place)
        for row, pair in enumerate(pairs):
            own = of_video.get(pair.video_id, [])
            is_own[row, own] = True
            is_right[row, own] = [self.segments[place].answers(pair) for place in own]
        return is_right, is_own


@dataclass(frozen=True)
class _Adapted:
    """Clips that were cut for one model, as another reads them."""

    clips: Clips
    cut_for: RetrievalSpec
    wanted_by: RetrievalSpec

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return adapt_clips(self.clips[rows], self.cut_for, self.wanted_by)


def refuse(cut: Cut, spec: RetrievalSpec) -> str | None:
    """Say why a model cannot fairly be asked about stored clips; None if it can.

    Frames can be left out and made smaller; what was cut away or squashed is lost.
    """
    wanted = Cut.of(spec)
    if wanted == cut:
        return None
    stored = replace(spec, **asdict(cut))
    if cut.fit != wanted.fit:
        return f"stored frames are made square by {cut.fit}, and the model reads {wanted.fit}"
    if wanted.frames_per_clip > cut.frames_per_clip:
        return (
            f"stored clips have {cut.frames_per_clip} frames, and the model reads "
            f"{wanted.frames_per_clip}"
        )
    share = field_of_view(spec) / field_of_view(stored)
    if share > 1 or wanted.frame_size > round(cut.frame_size * share):
        return (
            f"stored frames show less than the model reads ({cut.frame_size} of "
            f"{cut.resize_short} px, not {wanted.frame_size} of {wanted.resize_short})"
        )
    return None


def open_shelf(gallery: LiveGallery, scratch: Path) -> Shelf:
    """Copy the clips of a gallery, so that a video that is deleted meanwhile does no harm.

    Raises:
        GalleryError: no clip can be read.
    """
    cut = gallery.cut
    shape = (cut.frames_per_clip, cut.frame_size, cut.frame_size, 3)
    pixels = scratch_file(scratch, len(gallery.segments), *shape[:2])
    found: list[GallerySegment] = []
    for segment in gallery.segments:
        try:
            stored = np.load(segment.clips_path, mmap_mode="r", allow_pickle=False)
            clip = stored[segment.position]
        except (OSError, ValueError, IndexError):  # its video was deleted or replaced
            continue
        if clip.dtype == np.uint8 and clip.shape == shape:
            pixels[len(found)] = clip
            found.append(segment)
    if not found:
        raise GalleryError("no stored clip of the gallery could be read")
    return Shelf(cut, tuple(found), ClipFile(pixels, torch.arange(len(found))))
