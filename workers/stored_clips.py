"""The clips of videos that are there already, as another model wants to see them.

They are read from disk where the shapes fit; else the file is decoded again, and the clips of that
shape are kept for the generation that needs them. Shapes: N segments, T frames, S side.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model.retrieval import RetrievalSpec
from model.video.errors import VideoError
from model.video.segments import Span
from service.catalog.stored_queries import StoredVideo
from service.catalog.tables import Job
from service.settings import Settings
from service.storage import DerivedDraft, Storage
from workers.ingest import open_reader
from workers.lease import Lease
from workers.runner import WorkError

SHAPE = ("frames_per_clip", "frame_size", "resize_short", "fit", "resample")
DEFAULTS = {"fit": "crop", "resample": "bilinear"}
"""Of models that were registered before there was a choice."""


@dataclass
class ClipSource:
    """The clips of one video, in the order of their positions.

    Iterate to the end; then `derived` says which folder was made, if one was.

    Args:
        stored: the video.
        spec: of the model that will read the clips.
        job: for which they are read; a folder that is made carries its name.
        lease: of the job; the decoder is killed when the work must stop.
        storage: the files.
        settings: how to decode.
    """

    stored: StoredVideo
    spec: RetrievalSpec
    job: Job
    lease: Lease
    storage: Storage
    settings: Settings
    derived: str | None = None

    @property
    def fits(self) -> bool:
        """Whether the clips that are stored are those that the model wants."""
        return self._stored_clips is not None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 (T, S, S, 3), one for each segment.

        Raises:
            WorkError: the video cannot be decoded any more.
        """
        clips = self._stored_clips
        if clips is None:
            yield from self._decode()
            return
        for clip in clips:
            yield np.array(clip)

    @cached_property
    def _stored_clips(self) -> np.ndarray | None:
        """Return the mapped clips (N, T, S, S, 3) if they are what the model wants."""
        if self.stored.derived is None or not has_shape(self.stored.clip_spec, self.spec):
            return None
        try:
            clips = self.storage.map_clips(self.stored.derived)
        except (OSError, ValueError):
            return None  # gone or damaged: the file itself still has all of it
        side = self.spec.frame_size
        wanted = (len(self.stored.spans), self.spec.frames_per_clip, side, side, 3)
        return clips if clips.shape == wanted else None

    def _decode(self) -> Iterator[np.ndarray]:
        stored = self.stored
        spans = [Span(one.ordinal, one.start_s, one.end_s) for one in stored.spans]
        clip_bytes = self.spec.frames_per_clip * self.spec.frame_size**2 * 3
        self.storage.check_space(len(spans) * clip_bytes)
        with (
            self.storage.local_blob(stored.sha256) as path,
            self.storage.open_derived(stored.video_id, self.job.id, self.job.fence) as draft,
        ):
            try:
                yield from self._decode_into(draft, spans, path)
            except VideoError as error:
                detail = f"Video {stored.video_id} cannot be decoded any more: {error.detail}"
                raise WorkError(error.reason, detail, is_final=not error.may_pass) from error
            self.derived = draft.publish()

    def _decode_into(
        self, draft: DerivedDraft, spans: list[Span], path: Path
    ) -> Iterator[np.ndarray]:
        reader = open_reader(path, spans, self.spec, self.settings)
        last: np.ndarray | None = None
        missing = 0
        with reader, self.lease.stopping(reader.kill):
            due = iter(spans)
            for decoded in reader:
                while next(due).ordinal != decoded.span.ordinal:
                    missing += 1  # damaged where this model looks: its neighbour stands for it
                for _ in range(missing + 1):
                    draft.add(decoded.frames, b"")
                    yield decoded.frames
                missing, last = 0, decoded.frames
            for _ in due:
                if last is not None:
                    draft.add(last, b"")
                    yield last


def has_shape(clip_spec: Mapping[str, Any] | None, spec: RetrievalSpec) -> bool:
    """Tell whether clips that were stored for one model are those that another one wants."""
    if clip_spec is None:
        return False
    return all(clip_spec.get(name, DEFAULTS.get(name)) == getattr(spec, name) for name in SHAPE)
