"""Decode a dataset's videos, each as one clip, and keep the clips on disk.

Shapes: M videos, T frames, S side.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.datasets.items import DatasetError, shown
from model.datasets.reading import Dataset
from model.measure import Gallery, Progress, no_progress
from model.retrieval import RetrievalSpec
from model.video.clips import ClipReader, ClipShape, Reader
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.segments import Span

SMALLEST_THUMBNAIL_PX = 16
"""Nobody looks at them here."""


class UnreadableVideosError(DatasetError):
    """Some videos of the split cannot be decoded."""


@dataclass(frozen=True)
class ClipFile:
    """Clips on disk, and which of them make up a gallery.

    Attributes:
        pixels: uint8 (M', T, S, S, 3), a file that is mapped into memory.
        rows: the clips that count, (M,).
    """

    pixels: np.memmap
    rows: Tensor

    def __len__(self) -> int:
        """Return how many clips count, M."""
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return some of them, uint8 (B, T, S, S, 3)."""
        return torch.from_numpy(np.asarray(self.pixels[self.rows[rows].numpy()]))


@dataclass(frozen=True)
class DecodedDataset:
    """A dataset that is ready to be searched.

    Attributes:
        gallery: texts and clips.
        unreadable: names of videos that cannot be decoded and are left out.
        damaged: names of videos of which only a part could be decoded.
    """

    gallery: Gallery
    unreadable: tuple[str, ...]
    damaged: tuple[str, ...]


@contextmanager
def decoded(
    dataset: Dataset,
    spec: RetrievalSpec,
    *,
    frames_per_clip: int,
    limits: DecodeLimits,
    reader: Reader = "pyav",
    skip_unreadable: bool = False,
    progress: Progress = no_progress,
) -> Iterator[DecodedDataset]:
    """Decode every video whole, as one clip, and keep the clips in a temporary file meanwhile.

    The clip has `frames_per_clip` frames at the centres of as many equal parts of the video,
    cut and scaled as the model wants, by the code that ingest uses.

    Args:
        dataset: which videos.
        spec: the model that will read the clips.
        frames_per_clip: T.
        limits: how much decoding one video may cost.
        reader: library that decodes.
        skip_unreadable: leave out what cannot be decoded.
        progress: told how far it is.

    Raises:
        UnreadableVideosError: some videos, or all, cannot be decoded.
        DatasetError: the disk has no room for the clips.
    """
    shape = ClipShape(
        frames_per_clip=frames_per_clip,
        frame_size=spec.frame_size,
        resize_short=spec.resize_short,
        thumbnail_px=SMALLEST_THUMBNAIL_PX,
        fit=spec.fit,
        resample=spec.resample,
    )
    with tempfile.TemporaryDirectory(prefix="reelseek-") as folder:
        pixels = _make_file(Path(folder), len(dataset.files), shape)
        faults = _Decoder(shape, limits, reader).decode_all(dataset.files, pixels, progress)
        yield _gather(dataset, pixels, faults, skip_unreadable=skip_unreadable)


def _make_file(folder: Path, count: int, shape: ClipShape) -> np.memmap:
    needed = count * shape.clip_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"The clips take {needed / 1e9:.1f} GB and {folder.parent} has {free / 1e9:.1f} GB "
            "free; set TMPDIR to a folder on a larger disk"
        )
    side = shape.frame_size
    dims = (count, shape.frames_per_clip, side, side, 3)
    return np.memmap(folder / "clips", np.uint8, "w+", shape=dims)


@dataclass(frozen=True)
class _Fault:
    """What is wrong with a video; one that is only damaged has a clip all the same."""

    detail: str
    is_fatal: bool


@dataclass(frozen=True)
class _Decoder:
    """Decodes whole videos into the rows of a file."""

    shape: ClipShape
    limits: DecodeLimits
    reader: Reader

    def decode_all(
        self, files: Sequence[Path], pixels: np.memmap, progress: Progress
    ) -> list[_Fault | None]:
        """Decode every video into its row, as many at once as there are cores."""
        faults: list[_Fault | None] = []
        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        try:
            for fault in pool.map(self._decode, files, pixels):
                faults.append(fault)
                progress("videos decoded", len(faults), len(files))
        finally:
            pool.shutdown(cancel_futures=True)
        return faults

    def _decode(self, path: Path, row: NDArray[np.uint8]) -> _Fault | None:
        whole = [Span(0, 0.0, self.limits.max_duration_s)]  # a span ends with its video
        try:
            with ClipReader(
                path,
                whole,
                shape=self.shape,
                sampling="exact",
                reader=self.reader,
                limits=self.limits,
            ) as clips:
                for clip in clips:
                    row[:] = clip.frames
                report = clips.report
        except VideoError as error:
            return _Fault(error.detail, is_fatal=True)
        except OSError as error:
            return _Fault(f"It cannot be read: {error.strerror}.", is_fatal=True)
        return _Fault(report.reason or "", is_fatal=False) if report.is_partial else None


def _gather(
    dataset: Dataset, pixels: np.memmap, faults: Sequence[_Fault | None], *, skip_unreadable: bool
) -> DecodedDataset:
    fatal = {i: fault for i, fault in enumerate(faults) if fault and fault.is_fatal}
    names = [item.name for item in dataset.items]
    unreadable = tuple(names[i] for i in fatal)
    if fatal and (not skip_unreadable or len(fatal) == len(names)):
        first = next(iter(fatal))
        raise UnreadableVideosError(
            f"Of {len(names)} videos, {shown(unreadable)} cannot be decoded; "
            f"{dataset.files[first]}: {fatal[first].detail}"
        )
    rows = [i for i in range(len(names)) if i not in fatal]
    each = [dataset.items[i].texts for i in rows]
    owners = np.repeat(np.arange(len(rows)), [len(texts) for texts in each])
    gallery = Gallery(
        [text for texts in each for text in texts], ClipFile(pixels, torch.tensor(rows)), owners
    )
    damaged = tuple(names[i] for i in rows if faults[i])
    return DecodedDataset(gallery, unreadable, damaged)
