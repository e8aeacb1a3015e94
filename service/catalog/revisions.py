"""How the schema of a database stands to the migrations of this release."""

from enum import StrEnum

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from service.catalog.session import alembic_config


class Standing(StrEnum):
    """What the migrations of this release know of a schema."""

    EMPTY = "empty"
    OLDER = "older"
    NEWEST = "newest"
    LATER = "later"
    """Of a later release: its migrations only added, so this release works on it."""


def standing_of(connection: Connection) -> tuple[Standing, str | None]:
    """Return how a schema stands, and the migration that it is at (None: it is empty)."""
    at = MigrationContext.configure(connection).get_current_revision()
    if at is None:
        return Standing.EMPTY, None
    scripts = ScriptDirectory.from_config(alembic_config(connection))
    if at == scripts.get_current_head():
        return Standing.NEWEST, at
    is_ours = at in {one.revision for one in scripts.walk_revisions()}
    return (Standing.OLDER if is_ours else Standing.LATER), at
