"""Uploads in pieces: who finishes one, and how many may be begun."""

import threading

import pytest
from sqlalchemy import event

from service.catalog.session import make_engine, make_sessions
from service.catalog.upload_tables import UploadState
from service.errors import TooManyRequestsError
from service.metadata import UploadMetadata
from service.quotas import UNLIMITED, Quotas
from service.resumable import NewUpload, Resumables
from tests.factories import Facts

OWNER = "session:0123456789abcdef"
CONTENT = b"0123456789"


@pytest.fixture
def open_uploads(sessions, storage, sender, generation):  # noqa: ARG001 (videos need one)
    def open_uploads(sessions=sessions, quotas=UNLIMITED):
        return Resumables(
            sessions=sessions,
            storage=storage,
            sender=sender,
            quotas=quotas,
            probe=lambda _path: Facts(),
            keep_s=3600.0,
        )

    return open_uploads


def begin(uploads, length, owner=OWNER):
    return uploads.create(
        NewUpload(owner=owner, length=length, file_name="a.mp4", metadata=UploadMetadata())
    )


def test_who_is_late_to_finish_an_upload_is_told_of_the_video(database_url, storage, open_uploads):
    uploads = open_uploads()
    upload = begin(uploads, len(CONTENT))
    with storage.open_staging() as piece:
        piece.write(CONTENT)
        uploads.keep_piece(upload.id, 0, piece.finish())
    late_engine = make_engine(database_url)
    finished = []

    def let_the_other_be_quicker(*_connection):
        """Finish it elsewhere, between the late one's look at it and its look at the pieces."""
        begun.append(1)
        if len(begun) == 2:
            quick = threading.Thread(target=lambda: finished.append(uploads.finish(upload.id)))
            quick.start()
            quick.join()

    begun = []
    event.listen(late_engine, "checkout", let_the_other_be_quicker)
    ended = open_uploads(make_sessions(late_engine)).finish(upload.id)

    assert ended.state is UploadState.ACCEPTED
    assert ended.video_id == finished[0].video_id is not None
    assert list(storage.stored_parts()) == []
    late_engine.dispose()


def test_uploads_that_were_begun_count_as_they_were_announced(open_uploads):
    uploads = open_uploads(quotas=Quotas(upload_bytes_per_day=100))
    first = begin(uploads, 60)
    with pytest.raises(TooManyRequestsError) as refusal:
        begin(uploads, 41)
    assert refusal.value.reason == "quota_upload_bytes"
    begin(uploads, 100, owner="session:another")

    uploads.terminate(first.id)

    begin(uploads, 100)
