"""Captioned videos and tuning runs on them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from service.catalog.caption_tables import Caption, CaptionSource
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import Job, VideoState
from service.catalog.tuning_queries import TuningRecord, get_tuning
from service.jobs import JobSender
from service.registry import Registry
from service.settings import Settings
from service.storage import Storage
from service.tunings.request import TuningRequest
from service.tunings.requesting import Requested, request_tuning
from service.uploads import Accepted
from tests import factories
from tests.factories_ingest import get_video

COLOURS = ("red", "green", "blue", "yellow")
THINGS = ("circle", "square", "triangle")


def captions_of(number: int, count: int = 2) -> list[str]:
    """Return some captions of the video with this number."""
    colour, thing = COLOURS[number % len(COLOURS)], THINGS[number % len(THINGS)]
    moves = ("moves right", "moves to the left", "grows", "shrinks then grows")
    return [f"a {colour} {thing} {moves[index % len(moves)]} {number}" for index in range(count)]


def add_caption(sessions: Sessions, video_id: UUID, text: str) -> UUID:
    """Say something of a video."""

    def add(session) -> UUID:
        caption = Caption(video_id=video_id, text=text, source=CaptionSource.TYPED)
        session.add(caption)
        session.flush()
        return caption.id

    return in_transaction(sessions, add)


def captioned_videos(
    sessions: Sessions,
    storage: Storage,
    sender: JobSender,
    folder: Path,
    *,
    count: int = 6,
    captions: int = 2,
    duration_s: float = 1.0,
    index: Callable[[Accepted], object] | None = None,
) -> list[UUID]:
    """Upload small videos that can be decoded, index them, and say something of each.

    `index` does what a worker does with an upload; without it embeddings are made up.
    """
    videos = []
    for number in range(count):
        size = (48 + 2 * number, 36)
        path = factories.write_video(
            folder / f"video-{number}.mp4", duration_s=duration_s, size=size
        )
        accepted = factories.upload(
            sessions,
            storage,
            sender,
            path.read_bytes(),
            file_name=path.name,
            facts=factories.Facts(duration_s=duration_s),
        )
        if index is None:
            vectors = factories.unit_vectors(1, seed=number)
            factories.ingest(sessions, storage, accepted.job_id, count=1, vectors=vectors)
        else:
            index(accepted)
        assert get_video(sessions, accepted.video_id).state is VideoState.READY
        for text in captions_of(number, captions):
            add_caption(sessions, accepted.video_id, text)
        videos.append(accepted.video_id)
    return videos


def request(
    sessions: Sessions, sender: JobSender, settings: Settings, **asked: object
) -> Requested:
    """Ask for a run."""
    registry = Registry(settings.data_dir)
    return request_tuning(sessions, sessions, sender, registry, TuningRequest(**asked))


def read(sessions: Sessions, tuning_id: UUID) -> TuningRecord:
    """Return a run as it is now."""
    with sessions() as session:
        return get_tuning(session, tuning_id)


def names_of(models: Sequence) -> list[str]:
    """Return the names of models."""
    return [model.name for model in models]


def job_of(sessions: Sessions, requested: Requested) -> Job:
    """Return the job of a run as it is now."""
    return read(sessions, requested.tuning_id).job
