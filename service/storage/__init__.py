"""The files of an installation: below the data folder, or in a bucket of an object store."""

from service.storage.derived import DerivedDraft
from service.storage.disk import age_s
from service.storage.files import Storage
from service.storage.names import StoredFolder, attempt_name, work_name
from service.storage.opening import media_origin, open_storage
from service.storage.staging import StagedFile, Staging

__all__ = [
    "DerivedDraft",
    "StagedFile",
    "Staging",
    "Storage",
    "StoredFolder",
    "age_s",
    "attempt_name",
    "media_origin",
    "open_storage",
    "work_name",
]
