"""Fills an installation with a synthetic gallery for bench/search.py, through the real tables."""

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import torch
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from model.bundle import bundle_digest, load_bundle
from model.evaluate import world_gallery
from model.retrieval import RetrievalModel, RetrievalSpec
from service.catalog.activation_tables import GenerationVideo
from service.catalog.change_queries import chain_after, read_counter
from service.catalog.generation_queries import ActiveGeneration, ensure_active_generation
from service.catalog.session import (
    Sessions,
    in_transaction,
    make_engine,
    make_sessions,
    upgrade,
)
from service.catalog.tables import (
    Blob,
    BlobState,
    Change,
    ChangeCounter,
    ChangeOp,
    Embedding,
    Job,
    JobKind,
    JobState,
    Segment,
    Video,
    VideoState,
    utc_now,
)
from service.settings import Settings
from service.storage import Storage

SEGMENTS_PER_VIDEO = 20
SEGMENT_S = 4.0
CLIP_FOLDERS = 50  # real files, shared by all videos
NUM_CLIPS = CLIP_FOLDERS * SEGMENTS_PER_VIDEO
EMBED_BATCH = 50
WORLD_SEED = 3001
CLUSTERS = 500  # embeddings of real footage lie in clusters, too
VIDEOS_AT_ONCE = 500


def fill(settings: Settings, num_segments: int, *, is_real: bool = False) -> None:
    """Make an installation of so many segments: rows, change log, stored clips.

    Args:
        settings: where.
        num_segments: how many.
        is_real: clips are of the made-up world and embeddings are theirs, each many times over;
            else both are random, which is quicker.
    """
    upgrade(settings.sqlalchemy_url)
    engine = make_engine(settings.sqlalchemy_url)
    sessions = make_sessions(engine)
    network = load_bundle(settings.bundle_path)
    spec = network.spec
    digest = bundle_digest(settings.bundle_path)
    generation = in_transaction(
        sessions,
        lambda session: ensure_active_generation(
            session,
            name="bench",
            digest=digest,
            path=str(settings.bundle_path.absolute()),
            spec=asdict(spec),
        ),
    )
    random = np.random.default_rng(0)
    clips = gallery_clips(network) if is_real else _random_clips(spec, random)
    jobs = [uuid4() for _ in range(CLIP_FOLDERS)]
    folders = list(_write_clips(Storage(settings.data_dir, limit_bytes=1), clips, jobs))
    _add_jobs(sessions, generation, jobs)
    if is_real:
        next_embeddings = _embeddings_of(network, clips)
    else:
        next_embeddings = _random_embeddings(spec.embedding_dim, random)
    num_videos = num_segments // SEGMENTS_PER_VIDEO
    for first in range(0, num_videos, VIDEOS_AT_ONCE):
        numbers = range(first, min(num_videos, first + VIDEOS_AT_ONCE))
        chosen = [folders[number % CLIP_FOLDERS] for number in numbers]
        _add_videos(sessions, generation, chosen, next_embeddings)
    engine.dispose()


def _random_clips(spec: RetrievalSpec, random: np.random.Generator) -> np.ndarray:
    shape = (spec.frames_per_clip, spec.frame_size, spec.frame_size, 3)
    return random.integers(0, 256, (NUM_CLIPS, *shape), np.uint8)


def gallery_clips(network: RetrievalModel) -> np.ndarray:
    """Return the clips of a real gallery, as a model reads them, uint8 (1000, T, S, S, 3)."""
    clips = world_gallery(network, NUM_CLIPS, seed=WORLD_SEED).clips
    return clips[torch.arange(NUM_CLIPS)].numpy()


def _write_clips(storage: Storage, clips: np.ndarray, jobs: Sequence[UUID]) -> Iterator[str]:
    for number, job_id in enumerate(jobs):
        first = number * SEGMENTS_PER_VIDEO
        with storage.open_derived(uuid4(), job_id, 1) as draft:
            for clip in clips[first : first + SEGMENTS_PER_VIDEO]:
                draft.add(clip, b"jpeg")
            yield draft.publish()


def _add_jobs(sessions: Sessions, generation: ActiveGeneration, jobs: Sequence[UUID]) -> None:
    """Say which model's clips the folders hold: that of the job in their names."""
    rows = [
        {
            "id": job_id,
            "kind": JobKind.INGEST,
            "subject_id": uuid4(),
            "generation_id": generation.generation_id,
            "version": 1,
            "state": JobState.DONE,
            "progress": 1.0,
            "created_at": utc_now(),
        }
        for job_id in jobs
    ]
    with sessions.begin() as session:
        session.execute(insert(Job), rows)


def _embeddings_of(network: RetrievalModel, clips: np.ndarray) -> Callable[[], np.ndarray]:
    """Return what gives the embeddings of one folder after the other, again and again."""
    parts = [network.embed_video(part) for part in torch.from_numpy(clips).split(EMBED_BATCH)]
    folders = torch.cat(parts).numpy().astype("<f2").reshape(CLIP_FOLDERS, SEGMENTS_PER_VIDEO, -1)
    in_turn = itertools.cycle(folders)
    return lambda: next(in_turn)


def _random_embeddings(dim: int, random: np.random.Generator) -> Callable[[], np.ndarray]:
    centres = random.normal(size=(CLUSTERS, dim))

    def next_embeddings() -> np.ndarray:
        near = centres[random.integers(CLUSTERS, size=SEGMENTS_PER_VIDEO)]
        vectors = near + 0.5 * random.normal(size=near.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype("<f2")

    return next_embeddings


def _add_videos(
    sessions: Sessions,
    generation: ActiveGeneration,
    folders: list[str],
    next_embeddings: Callable[[], np.ndarray],
) -> None:
    """Insert videos in bulk, and a block of change-log lines as the last thing."""
    videos = [_video(folder) for folder in folders]
    blobs = [
        {"sha256": video["sha256"], "size_bytes": 1, "state": BlobState.LIVE} for video in videos
    ]
    segments = [_segment(video["id"], n) for video in videos for n in range(SEGMENTS_PER_VIDEO)]
    embeddings = [
        row
        for video in videos
        for row in _embedding_rows(generation.generation_id, video["id"], next_embeddings())
    ]
    embedded = [
        {
            "generation_id": generation.generation_id,
            "video_id": video["id"],
            "video_version": 1,
            "num_segments": SEGMENTS_PER_VIDEO,
            "embedded_at": utc_now(),
        }
        for video in videos
    ]
    with sessions.begin() as session:
        for table, rows in (
            (Blob, blobs),
            (Video, videos),
            (Segment, segments),
            (Embedding, embeddings),
            (GenerationVideo, embedded),
        ):
            session.execute(insert(table), rows)
        _append_changes(session, generation.generation_id, [video["id"] for video in videos])


def _video(folder: str) -> dict[str, Any]:
    video_id = uuid4()
    return {
        "id": video_id,
        "sha256": video_id.hex * 2,
        "file_name": "bench.mp4",
        "title": f"video {video_id.hex[:6]}",
        "fields": {},
        "state": VideoState.READY,
        "version": 1,
        "duration_s": SEGMENT_S * SEGMENTS_PER_VIDEO,
        "num_segments": SEGMENTS_PER_VIDEO,
        "derived": folder,
        "created_at": utc_now(),
        "updated_at": utc_now(),
    }


def _segment(video_id: UUID, number: int) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "ordinal": number,
        "position": number,
        "start_s": SEGMENT_S * number,
        "end_s": SEGMENT_S * (number + 1),
        "thumbnail_offset": 0,
        "thumbnail_bytes": 4,
    }


def _embedding_rows(
    generation_id: UUID, video_id: UUID, vectors: np.ndarray
) -> Iterator[dict[str, Any]]:
    for ordinal, vector in enumerate(vectors):
        yield {
            "generation_id": generation_id,
            "video_id": video_id,
            "ordinal": ordinal,
            "video_version": 1,
            "vector": vector.tobytes(),
            "crc": zlib.crc32(vector.tobytes()),
        }


def _append_changes(session: Session, generation_id: UUID, video_ids: list[UUID]) -> None:
    counter = read_counter(session)
    seq, chain = counter.seq, counter.chain
    for video_id in video_ids:
        seq += 1
        change = Change(
            seq=seq,
            generation_id=generation_id,
            video_id=video_id,
            video_version=1,
            op=ChangeOp.UPSERT,
        )
        change.chain = chain = chain_after(chain, change)
        session.add(change)
    session.execute(update(ChangeCounter).values(seq=seq, chain=chain))


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
