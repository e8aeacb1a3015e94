"""Checks of `doctor` that write and read: the store of files, and the sandbox of the decoder."""

import secrets
from pathlib import Path
from tempfile import NamedTemporaryFile
from uuid import uuid4

from model.video.errors import VideoError
from model.video.sandbox import capabilities
from service.cli.finding import Check, bad, good, note
from service.errors import ServiceError
from service.settings import Settings
from service.storage import open_storage

NUM_BYTES = 64 * 1024


def check_storage(settings: Settings) -> Check:
    """Does the store of files give back what it is given, and forget what it is told to?"""
    if not settings.data_dir.exists():
        return note("Files", "the data folder is made at the first start")
    place = settings.storage_url or str(settings.data_dir.absolute())
    mend = (
        "check REELSEEK_STORAGE_URL, REELSEEK_S3_ENDPOINT and the credentials: uploads fail now."
        if settings.storage_url
        else "check the rights and the disk of REELSEEK_DATA_DIR: uploads fail now."
    )
    try:
        problem = _round_trip(settings)
    except (ServiceError, OSError, ValueError) as error:
        detail = error.detail if isinstance(error, ServiceError) else str(error)
        return bad("Files", f"{place}: {detail}", mend)
    return bad("Files", f"{place}: {problem}", mend) if problem else good("Files", place)


def _round_trip(settings: Settings) -> str | None:
    """Put a small file, read it, remove it; return what was wrong."""
    storage = open_storage(settings)
    content, name = secrets.token_bytes(NUM_BYTES), f"{uuid4()}/0"
    with NamedTemporaryFile(dir=storage.staging, delete=False) as file:
        file.write(content)
    try:
        storage.put_part(name, Path(file.name))
        if b"".join(storage.read_part(name)) != content:
            return "other bytes came back than were put"
    finally:
        Path(file.name).unlink(missing_ok=True)
        storage.remove_part(name)
    is_left = any(part.name == name for part in storage.stored_parts())
    return "a file is still there after its removal" if is_left else None


def check_sandbox(_settings: Settings) -> Check:
    """Which walls does this machine put around the decoder?"""
    try:
        found = capabilities()
    except VideoError as error:
        return bad("Sandbox", error.detail, "see the check of the decoder above.")
    if found.weaknesses:
        return note("Sandbox", "some of its walls are missing here", " ".join(found.weaknesses))
    return good("Sandbox", "no network, no rights, filtered system calls, Landlock")
