"""Lines of a tuning folder as what training and comparing read."""

from collections.abc import Container, Iterable
from pathlib import Path

from model.gate.pairs import HeldOutPair
from model.pairs import VideoPair
from workers.tuning.folder import FORGOTTEN, PairLine, read_forgotten


def training_pairs(lines: Iterable[PairLine]) -> list[VideoPair]:
    """Return the clips to train on, each with all that is said about it.

    Two captions of one clip must not stand in a batch as two clips: each would be wrong of the
    other. Negative lines are left out: they name a text, and a batch has only texts with clips.
    """
    return _clips(line for line in lines if not line.is_held_out and not line.is_negative)


def held_out_clips(lines: Iterable[PairLine]) -> list[VideoPair]:
    """Return the clips that are asked for afterwards."""
    return _clips(line for line in lines if line.is_held_out and not line.is_negative)


def held_out_pairs(lines: Iterable[PairLine], forgotten: Container[int]) -> list[HeldOutPair]:
    """Return what both models are asked after training, without what was deleted since."""
    return [
        HeldOutPair(
            video_id=line.video_id,
            path=line.path,
            text=line.text,
            start_s=line.start_s,
            end_s=line.end_s,
            group=line.group,
        )
        for line in lines
        if line.is_held_out and not line.is_negative and line.ordinal not in forgotten
    ]


def _clips(lines: Iterable[PairLine]) -> list[VideoPair]:
    clips: dict[tuple[Path, float, float | None], list[PairLine]] = {}
    for line in lines:
        clips.setdefault((line.path, line.start_s or 0.0, line.end_s), []).append(line)
    return [
        VideoPair(
            path=path,
            captions=tuple(line.text for line in said),
            start_s=start_s,
            end_s=end_s,
            line=said[0].ordinal,
            ordinals=tuple(line.ordinal for line in said),
        )
        for (path, start_s, end_s), said in clips.items()
    ]


class Forgotten:
    """Which pairs were deleted since the run began; the file is read only when it has changed.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._ordinals: frozenset[int] = frozenset()

    def __call__(self) -> frozenset[int]:
        """Return their ordinals."""
        try:
            status = (self._folder / FORGOTTEN).stat()
        except FileNotFoundError:
            return self._ordinals
        seen = (status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            self._ordinals = read_forgotten(self._folder)
            self._seen = seen
        return self._ordinals
