"""Where the files of an installation lie on disk, for tests that look at them or harm them."""

from pathlib import Path

from service.storage import Storage
from service.storage.names import blob_name


def blob_path(storage: Storage, sha256: str) -> Path:
    """Return where the uploaded file with this content lies, or would."""
    return storage.root / blob_name(sha256)


def blob_paths(storage: Storage) -> list[Path]:
    """Return where all uploaded files lie."""
    return [blob_path(storage, blob.sha256) for blob in storage.stored_blobs()]


def derived_paths(storage: Storage) -> list[Path]:
    """Return all folders of clips and thumbnails."""
    return [storage.root / folder.name for folder in storage.stored_derived()]
