"""The names of stored files; the same below a folder and in a bucket.

`blobs/ab/cdef...` uploaded files by SHA-256, without an extension (decoders choose formats by it);
`derived/<video>/<job>-<fence>/` clips and thumbnails; `uploads/<upload>/<offset>` pieces of uploads
that go on later.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from service.storage.store import StoredFile

BLOBS, DERIVED, UPLOADS = "blobs/", "derived/", "uploads/"
SHA256_HEX = re.compile(r"[0-9a-f]{64}")
BLOB_NAME = re.compile(r"blobs/([0-9a-f]{2})/([0-9a-f]{62})")
DERIVED_NAME = re.compile(r"derived/[0-9a-f-]{36}/[0-9a-f-]{36}-\d+")
PART_NAME = re.compile(r"[0-9a-f-]{36}/\d{1,18}")


class StoredBlob(NamedTuple):
    """An uploaded file."""

    sha256: str
    size_bytes: int
    age_s: float


class StoredFolder(NamedTuple):
    """The clips and thumbnails that one attempt of a job made; as young as its youngest file."""

    name: str
    age_s: float
    files: tuple[str, ...]

    @property
    def attempt(self) -> str:
        """`<job>-<fence>` of the attempt."""
        return self.name.rpartition("/")[2]

    @property
    def video(self) -> str:
        """Id of the video."""
        return self.name.split("/")[-2]


def blob_name(sha256: str) -> str:
    """Return the name of the file with this content.

    Raises:
        ValueError: that is no SHA-256.
    """
    if not SHA256_HEX.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is no SHA-256")
    return f"{BLOBS}{sha256[:2]}/{sha256[2:]}"


def part_name(name: str) -> str:
    """Return the name of the file with a piece of an upload, `<upload id>/<offset>`.

    Raises:
        ValueError: that is no piece of an upload.
    """
    if not PART_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no piece of an upload")
    return f"{UPLOADS}{name}"


def derived_file(folder: str, file: str) -> str:
    """Return the name of a file beside a video.

    Raises:
        ValueError: that is no folder of clips and thumbnails.
    """
    if not DERIVED_NAME.fullmatch(folder):
        raise ValueError(f"{folder!r} is no folder of clips and thumbnails")
    return f"{folder}/{file}"


def derived_name(video_id: UUID, job_id: UUID, fence: int) -> str:
    """Return the name of the folder that an attempt of a job makes."""
    return f"{DERIVED}{video_id}/{attempt_name(job_id, fence)}"


def attempt_name(job_id: UUID, fence: int) -> str:
    """Return how an attempt of a job is called."""
    return f"{job_id}-{fence}"


def work_name(job_id: UUID, fence: int) -> str:
    """Return the name of the folder in which an attempt of a job works."""
    return f"work-{attempt_name(job_id, fence)}"


def blobs_among(files: Iterable[StoredFile]) -> Iterator[StoredBlob]:
    """Yield the files that are named as uploaded files are."""
    for file in files:
        if found := BLOB_NAME.fullmatch(file.name):
            yield StoredBlob("".join(found.groups()), file.size_bytes, file.age_s)


def folders_among(files: Iterable[StoredFile]) -> Iterator[StoredFolder]:
    """Yield the folders of files that are sorted by folder."""
    for name, group in groupby(files, key=lambda file: file.name.rpartition("/")[0]):
        found = list(group)
        yield StoredFolder(
            name, min(file.age_s for file in found), tuple(file.name for file in found)
        )
