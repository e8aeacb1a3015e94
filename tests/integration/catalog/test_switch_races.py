"""Uploads, deletes and a switch at the same time: no video is left out of what is searched."""

import threading
from contextlib import suppress
from functools import partial

import pytest
from sqlalchemy import select

from service import videos
from service.activations import request_activation
from service.catalog.activation_queries import switch_by_job
from service.catalog.activation_tables import GenerationVideo, Trigger
from service.catalog.audit import audit
from service.catalog.embedding_queries import EmbeddedVideo, commit_embedding, commit_some
from service.catalog.generation_queries import find_active_generation, put_version
from service.catalog.job_queries import LostLeaseError, claim_job
from service.catalog.session import in_transaction
from service.catalog.stored_queries import missing_videos, stored_videos
from service.catalog.tables import Job, JobKind, JobState
from service.errors import UnavailableError
from service.registry import Registry
from tests.factories import ingest, unit_vectors

UPLOADERS, ROUNDS, SWITCHES = 3, 8, 4


def embedded(stored):
    ordinals = [span.ordinal for span in stored.spans]
    vectors = unit_vectors(len(ordinals), seed=stored.video_id.int % 1000)
    return EmbeddedVideo(
        video_id=stored.video_id, version=stored.version, ordinals=ordinals, vectors=vectors
    )


def claim(sessions, job_id):
    return in_transaction(sessions, lambda session: claim_job(session, job_id, lease_s=60))


def fill(sessions, job):
    """Do what the job of an activation does, without a network."""
    while True:
        with sessions() as session:
            missing = missing_videos(session, job.generation_id, after=None, limit=50)
        if missing:
            some = [embedded(one) for one in missing]
            write = partial(commit_some, job_id=job.id, fence=job.fence, embedded=some, report={})
            in_transaction(sessions, write)
        switch = partial(switch_by_job, job_id=job.id, fence=job.fence, kept_for_s=600.0)
        if in_transaction(sessions, switch):
            return


def embed_waiting(sessions):
    """Do what the jobs of the other generations do."""
    with sessions() as session:
        waiting = session.scalars(
            select(Job.id).where(Job.kind == JobKind.EMBED, Job.state == JobState.QUEUED)
        ).all()
    for job_id in waiting:
        job = claim(sessions, job_id)
        if job is None:
            continue
        with sessions() as session:
            found = stored_videos(session, [job.subject_id])
        some = embedded(found[0]) if found else None
        try:
            in_transaction(
                sessions,
                partial(commit_embedding, job_id=job.id, fence=job.fence, embedded=some),
            )
        except LostLeaseError:
            continue  # deleted, or nobody wants that generation any more


@pytest.fixture
def versions(sessions, generation, tmp_path):
    """The model that is searched, and another one."""
    (tmp_path / "other").mkdir()

    def put(session, digest):
        path = str(tmp_path / "other")
        return put_version(session, name="o", digest=digest, path=path, spec={}).id

    other = in_transaction(sessions, partial(put, digest="cd" * 32))
    in_transaction(sessions, partial(put, digest=generation.bundle_digest))
    return [other, generation.model_version_id]


class Uploader(threading.Thread):
    """Uploads, ingests and deletes; keeps what went wrong."""

    def __init__(self, sessions, storage, upload):
        super().__init__()
        self._sessions, self._storage, self._upload = sessions, storage, upload
        self.failure = None

    def run(self):
        try:
            for number in range(ROUNDS):
                self._come(is_to_go=number % 3 == 0)
        except Exception as error:  # noqa: BLE001 (the main thread looks at it)
            self.failure = error

    def _come(self, *, is_to_go):
        accepted = self._uploaded()
        while not self._is_ingested(accepted):
            pass
        if is_to_go:
            videos.delete_video(self._sessions, accepted.video_id)
        embed_waiting(self._sessions)

    def _uploaded(self):
        while True:
            with suppress(UnavailableError):  # two switches in a row: clients are to try again
                return self._upload()

    def _is_ingested(self, accepted):
        try:
            ingest(self._sessions, self._storage, accepted.job_id)
        except LostLeaseError:
            return False  # a switch handed it over: who claims it next does it
        return True


def test_switches_leave_no_video_out_while_others_come_and_go(
    *, sessions, read_sessions, storage, sender, upload, versions, settings
):
    uploaders = [Uploader(sessions, storage, upload) for _ in range(UPLOADERS)]
    for uploader in uploaders:
        uploader.start()
    for number in range(SWITCHES):
        requested = request_activation(
            sessions,
            sender,
            Registry(settings.data_dir),
            model_version_id=versions[number % 2],
            trigger=Trigger.PERSON,
        )
        if not requested.is_switched:
            fill(sessions, claim(sessions, requested.job_id))
    for uploader in uploaders:
        uploader.join()
    embed_waiting(sessions)

    assert [uploader.failure for uploader in uploaders] == [None] * UPLOADERS
    with read_sessions() as session:
        assert audit(session, storage, grace_s=3600) == []
        active = find_active_generation(session)
        listed = select(GenerationVideo.video_id).where(
            GenerationVideo.generation_id == active.generation_id
        )
        num_listed = len(session.scalars(listed).all())
    assert active.model_version_id == versions[(SWITCHES - 1) % 2]
    assert num_listed == UPLOADERS * (ROUNDS - len(range(0, ROUNDS, 3)))
