"""Upload files through the API and follow their jobs until each is searchable or refused."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from model.video.suffixes import VIDEO_SUFFIXES
from service.cli.client import Api, RefusedError
from service.cli.console import CliError

OPEN_STATES = frozenset({"queued", "running", "processing"})
GOOD_STATES = frozenset({"ready", "partial"})
FOLLOW_EVERY_S = 0.5


@dataclass(kw_only=True)
class Upload:
    """One file on its way.

    Attributes:
        path: the file.
        state: waiting, uploading, queued, processing, ready, partial, failed or refused.
        percent: share of the present state that is done, 0 to 100.
        is_duplicate: the same content was there already.
    """

    path: Path
    title: str | None = None
    tags: tuple[str, ...] = ()
    state: str = "waiting"
    percent: float = 0.0
    video_id: str | None = None
    job_id: str | None = None
    is_duplicate: bool = False
    reason: str | None = None
    detail: str | None = None
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        """Read its size."""
        try:
            self.size_bytes = self.path.stat().st_size
        except OSError as error:
            raise CliError(f"{self.path} cannot be read ({error.strerror}).") from None

    @property
    def label(self) -> str:
        """What a person knows it by."""
        return self.title or str(self.path)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in GOOD_STATES | {"failed", "refused"}

    @property
    def is_good(self) -> bool:
        """Whether it can be searched."""
        return self.state in GOOD_STATES

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        return {
            "path": str(self.path),
            "video_id": self.video_id,
            "job_id": self.job_id,
            "is_duplicate": self.is_duplicate,
            "state": self.state,
            "reason": self.reason,
            "detail": self.detail,
        }


class CountingFile:
    """A file that tells how much of it was read, for a progress bar."""

    def __init__(self, file: BinaryIO, on_read: Callable[[int], None]) -> None:
        self._file = file
        self._on_read = on_read

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the file."""
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        """Read it to its end."""
        while chunk := self.read(1 << 20):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Read and count."""
        chunk = self._file.read(size)
        self._on_read(len(chunk))
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as httpx does to learn the length."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def fileno(self) -> int:
        """Return the descriptor, whose size httpx reads."""
        return self._file.fileno()


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and the videos in the folders named, each once.

    Raises:
        CliError: a path does not exist, or there is no video at all.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
            found.update(dict.fromkeys(p for p in inside if p.is_file()))
        elif path.exists():
            found[path] = None
        else:
            raise CliError(f"{path} does not exist.")
    if not found:
        raise CliError(f"There is no video in {', '.join(map(str, paths))}.")
    return list(found)


def send(api: Api, upload: Upload, *, on_progress: Callable[[Upload], None]) -> None:
    """Upload one file; a refusal is noted in `upload`, other failures are raised."""
    num_read = 0

    def count(num_bytes: int) -> None:
        nonlocal num_read
        num_read += num_bytes
        upload.percent = min(100.0, 100.0 * num_read / max(upload.size_bytes, 1))
        on_progress(upload)

    metadata: dict[str, Any] = {"tags": list(upload.tags)}
    if upload.title:
        metadata["title"] = upload.title
    upload.state = "uploading"
    try:
        with CountingFile(upload.path.open("rb"), count) as file:
            answer = api.post_form(
                "/v1/videos",
                files={
                    "metadata": (None, json.dumps(metadata), "application/json"),
                    "file": (upload.path.name, file, "application/octet-stream"),
                },
                headers={},
            )
    except OSError as error:
        raise CliError(f"{upload.path} cannot be read ({error.strerror}).") from None
    except RefusedError as error:
        if error.status not in REFUSALS_OF_ONE_FILE:
            raise
        upload.state, upload.reason, upload.detail = "refused", error.reason, error.sentence
        return
    upload.video_id, upload.job_id = answer["id"], answer["job_id"]
    upload.is_duplicate = bool(answer.get("is_duplicate", False))
    upload.state, upload.percent = "queued", 0.0


REFUSALS_OF_ONE_FILE = frozenset({400, 409, 413, 415, 422})
"""Statuses that say something of this file; after others the next file would fare no better."""


def follow(api: Api, uploads: Sequence[Upload], *, on_progress: Callable[[Upload], None]) -> None:
    """Wait until every upload is over."""
    while waiting := [upload for upload in uploads if not upload.is_over]:
        for upload in waiting:
            refresh(api, upload)
            on_progress(upload)
        if any(not upload.is_over for upload in waiting):
            time.sleep(FOLLOW_EVERY_S)


def refresh(api: Api, upload: Upload) -> None:
    """Ask how far a video is."""
    try:
        video = api.get(f"/v1/videos/{upload.video_id}")
    except RefusedError as error:
        upload.state, upload.reason, upload.detail = "failed", error.reason, error.sentence
        return
    upload.state = video["state"]
    upload.percent = float(video.get("percent") or 0.0)
    upload.reason, upload.detail = video.get("reason"), video.get("detail")
