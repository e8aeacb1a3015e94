"""Write which stored clips of the running index a tuning run compares its models on."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from model.gate.gallery import Cut, GallerySegment, LiveGallery, write_gallery
from service.catalog.gallery_queries import sample_gallery
from service.catalog.generation_queries import find_active_generation
from service.catalog.session import Sessions
from service.storage import Storage
from workers.tuning.folder import FOOTAGE, GALLERY


def write_live_gallery(
    folder: Path, *, reads: Sessions, storage: Storage, held_out: Collection[UUID], seed: int = 0
) -> int:
    """Write `gallery.jsonl`, unless nothing is indexed.

    Args:
        folder: of the run.
        reads: transactions that only read.
        storage: where the clips lie.
        held_out: videos that held-out texts are about; their segments come first.
        seed: draws the other videos.

    Returns:
        How many segments it names.
    """
    with reads() as session:
        active = find_active_generation(session)
        if active is None:
            return 0
        rows = sample_gallery(session, active.generation_id, held_out, seed=seed)
    segments = tuple(
        GallerySegment(
            video_id=str(row.video_id),
            ordinal=row.ordinal,
            start_s=row.start_s,
            end_s=row.end_s,
            clips_path=storage.stay_clips(row.derived, folder / FOOTAGE).absolute(),
            position=row.position,
        )
        for row in rows
    )
    if segments:
        draft = folder / f"{GALLERY}.draft"
        write_gallery(draft, LiveGallery(_cut_of(active.spec), segments))
        draft.replace(folder / GALLERY)
    return len(segments)


def _cut_of(spec: Mapping[str, Any]) -> Cut:
    """Return how the clips of a model are cut, from what is registered of it."""
    return Cut(
        frames_per_clip=spec["frames_per_clip"],
        frame_size=spec["frame_size"],
        resize_short=spec["resize_short"],
        fit=spec["fit"],
        resample=spec["resample"],
    )
