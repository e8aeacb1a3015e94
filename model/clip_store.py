"""Decoded clips of training pairs: each is decoded once and kept on disk if all of them fit.

Shapes: T frames, S frame side.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.pairs import VideoPair, decode_clip
from model.preprocessing import Preprocessing
from model.video.errors import VideoError
from model.video.limits import DecodeLimits

KEEP_BYTES = 8 * 1024**3
"""Clips are kept if all of them take no more than this; read again, they come from memory."""


@dataclass(frozen=True)
class LeftOut:
    """A pair that cannot be trained on.

    Attributes:
        pair: which.
        reason: why, a sentence for a person.
    """

    pair: VideoPair
    reason: str


@dataclass(frozen=True)
class ClipStore:
    """Decodes clips, in children of several threads, and keeps them.

    Several processes may share a folder.

    Attributes:
        folder: where clips are kept; it is made.
        preprocessing: how frames are chosen and cut.
        workers: how many clips are decoded at the same time.
        keep_bytes: most that is kept.
        limits: what the child that decodes one video may use.
    """

    folder: Path
    preprocessing: Preprocessing
    workers: int = field(default_factory=lambda: max(1, (os.cpu_count() or 2) - 1))
    keep_bytes: int = KEEP_BYTES
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    @property
    def clip_bytes(self) -> int:
        """Pixels of one clip, bytes."""
        shape = self.preprocessing
        return shape.frames_per_clip * shape.frame_size**2 * 3

    def keeps(self, count: int) -> bool:
        """Tell whether so many clips are kept."""
        return count * self.clip_bytes <= self.keep_bytes

    def check(
        self, pairs: Sequence[VideoPair], report: Callable[[int], None] | None = None
    ) -> tuple[list[VideoPair], list[LeftOut]]:
        """Decode every clip once, so that what is broken is known before training starts.

        Args:
            pairs: what is to be trained on.
            report: called with the number of clips that are done.

        Returns:
            the pairs that can be decoded, in their order, and the others.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        is_kept = self.keeps(len(pairs))
        usable: list[VideoPair] = []
        left_out: list[LeftOut] = []
        with ThreadPoolExecutor(self.workers) as pool:
            reasons = pool.map(lambda pair: self._check_one(pair, is_kept=is_kept), pairs)
            for done, (pair, reason) in enumerate(zip(pairs, reasons, strict=True), start=1):
                if reason is None:
                    usable.append(pair)
                else:
                    left_out.append(LeftOut(pair, reason))
                if report is not None:
                    report(done)
        return usable, left_out

    def load(self, pairs: Sequence[VideoPair]) -> NDArray[np.uint8]:
        """Return the clips of pairs, uint8 (pairs, T, S, S, 3).

        Raises:
            VideoError: a clip cannot be decoded any more.
        """
        with ThreadPoolExecutor(min(self.workers, max(1, len(pairs)))) as pool:
            clips = list(pool.map(self._load_one, pairs))
        return np.stack(clips)

    def keep_only(self, pairs: Sequence[VideoPair]) -> int:
        """Remove the clips of all other pairs, and return how many there were."""
        names = {self._key(pair) for pair in pairs}
        others = [path for path in self.folder.glob("*") if path.name.split(".")[0] not in names]
        for path in others:
            path.unlink(missing_ok=True)
        return sum(path.suffix == ".npy" for path in others)

    def _load_one(self, pair: VideoPair) -> NDArray[np.uint8]:
        kept = self._kept_at(pair)
        if kept.is_file():
            clip: NDArray[np.uint8] = np.load(kept)
            return clip
        return decode_clip(pair, self.preprocessing, limits=self.limits)

    def _check_one(self, pair: VideoPair, *, is_kept: bool) -> str | None:
        """Decode one clip if nothing is known of it, and return why it cannot be used."""
        seen, kept = self._seen_at(pair), self._kept_at(pair)
        if seen.is_file() and (kept.is_file() or not is_kept):
            return None
        try:
            clip = decode_clip(pair, self.preprocessing, limits=self.limits)
        except VideoError as error:
            return error.detail
        if is_kept:
            partial = kept.with_suffix(f".{os.getpid()}.partial")
            with partial.open("wb") as stream:
                np.save(stream, clip)
            partial.replace(kept)
        seen.touch()
        return None

    def _kept_at(self, pair: VideoPair) -> Path:
        return self.folder / f"{self._key(pair)}.npy"

    def _seen_at(self, pair: VideoPair) -> Path:
        return self.folder / f"{self._key(pair)}.seen"

    def _key(self, pair: VideoPair) -> str:
        """Name a clip by all that its pixels depend on."""
        try:
            status = pair.path.stat()
        except OSError:
            status = None
        facts = {
            "path": str(pair.path.absolute()),
            "file": None if status is None else [status.st_size, status.st_mtime_ns],
            "span": [pair.start_s, pair.end_s],
            "preprocessing": asdict(self.preprocessing),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def all_captions(pairs: Sequence[VideoPair]) -> Iterator[str]:
    """Yield every caption."""
    for pair in pairs:
        yield from pair.captions
