"""All rows as lines of JSON: the same for SQLite and PostgreSQL, and for later versions.

A line `{"table", "columns"}` begins a table, with the kind of each column; lists of values follow,
and `{"rows"}` with their number ends the dump. It is read without the classes of the tables, so
that a dump of an earlier schema can be loaded into that schema, and then be upgraded.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from service.catalog.schema import METADATA
from service.catalog.session import READ_ONLY, alembic_config, allow_idling
from service.catalog.tables import UtcDateTime

ROWS_AT_ONCE = 500
LEFT_OUT = frozenset(
    {
        "applied_changes",  # of an outer index, which is fed anew
        "login_tokens",
        "processes",
        "replica_reports",
        "resumable_uploads",  # their pieces are not kept: they are begun again
        "snapshots",  # of replicas, which are built anew
        "upload_parts",
    }
)
SEEDED = frozenset({"alembic_version", "change_counter"})
"""What an empty database has rows in."""


class BrokenDumpError(Exception):
    """The dump is cut off, or none."""


class Kind(NamedTuple):
    """How the values of a column are written and read."""

    column: Callable[[], sa.types.TypeEngine[Any]]
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


KINDS = {
    "uuid": Kind(sa.Uuid, str, UUID),
    "time": Kind(UtcDateTime, datetime.isoformat, datetime.fromisoformat),
    "bytes": Kind(sa.LargeBinary, lambda value: base64.b64encode(value).decode(), base64.b64decode),
    "json": Kind(lambda: sa.JSON(none_as_null=True), lambda value: value, lambda value: value),
    "plain": Kind(sa.types.NullType, lambda value: value, lambda value: value),
}


def kind_of(column: sa.types.TypeEngine[Any]) -> str:
    """Return which of KINDS a column is."""
    for name, types in (
        ("uuid", sa.Uuid),
        ("time", UtcDateTime),
        ("bytes", sa.LargeBinary),
        ("json", sa.JSON),
    ):
        if isinstance(column, types):
            return name
    return "plain"


def revision_of(connection: Connection) -> str | None:
    """Return the migration that a schema is at; None: there is no schema."""
    return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that reads everything as it was at one moment, and never waits."""
    options: dict[str, Any] = {READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect() as connection:
        reader = connection.execution_options(**options)
        allow_idling(reader)  # the disk of a backup may be slow
        yield reader


def require_newest(connection: Connection) -> str | None:
    """Return the newest migration; None if the schema is not at it."""
    newest = ScriptDirectory.from_config(alembic_config(connection)).get_current_head()
    return newest if revision_of(connection) == newest else None


def dump_rows(connection: Connection) -> Iterator[str]:
    """Yield the lines of a dump.

    Args:
        connection: of a snapshot, in a transaction.
    """
    count = 0
    for table in METADATA.sorted_tables:
        if table.name in LEFT_OUT:
            continue
        kinds = {column.name: kind_of(column.type) for column in table.columns}
        yield json.dumps({"table": table.name, "columns": kinds})
        writers = [KINDS[kind].write for kind in kinds.values()]
        found = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(sa.select(table))
        for row in found:
            count += 1
            yield json.dumps(
                [
                    None if value is None else write(value)
                    for value, write in zip(row, writers, strict=True)
                ]
            )
    yield json.dumps({"rows": count})


def is_empty(connection: Connection) -> bool:
    """Tell whether nothing was ever kept in a database: no schema, or no rows in it."""
    names = set(inspect(connection).get_table_names()) - SEEDED
    return not any(
        connection.execute(sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)).first()
        for name in sorted(names)
    )


def has_table(connection: Connection, name: str) -> bool:
    """Tell whether the schema has a table."""
    return inspect(connection).has_table(name)


def upgrade_to(connection: Connection, revision: str) -> None:
    """Bring the schema to a migration, within the transaction of the connection.

    Raises:
        alembic.util.CommandError: there is no such migration here.
    """
    command.upgrade(alembic_config(connection), revision)


def load_rows(connection: Connection, lines: Iterable[str]) -> int:
    """Put the rows of a dump into an empty schema of its revision, and return how many.

    Raises:
        BrokenDumpError: it is cut off, or none.
    """
    loader = _Loader(connection)
    try:
        for line in lines:
            loader.take(json.loads(line))
    except (ValueError, EOFError, OSError) as error:
        raise BrokenDumpError(f"it cannot be read ({error})") from error
    return loader.finish()


class _Loader:
    """Puts rows into tables, many at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._insert: sa.Insert | None = None
        self._columns: dict[str, Callable[[Any], Any]] = {}
        self._rows: list[dict[str, Any]] = []
        self._count, self._expected = 0, -1

    def take(self, line: Any) -> None:
        if isinstance(line, list):
            self._rows.append(
                {
                    name: None if value is None else read(value)
                    for (name, read), value in zip(self._columns.items(), line, strict=True)
                }
            )
            if len(self._rows) == ROWS_AT_ONCE:
                self._flush()
        elif "rows" in line:
            self._expected = line["rows"]
        else:
            self._begin(line["table"], line["columns"])

    def finish(self) -> int:
        self._flush()
        if self._count != self._expected:
            raise BrokenDumpError(f"it holds {self._count} rows, and should {self._expected}")
        return self._count

    def _begin(self, name: str, kinds: dict[str, str]) -> None:
        self._flush()
        columns = (sa.column(column, KINDS[kind].column()) for column, kind in kinds.items())
        table = sa.table(name, *columns)
        self._connection.execute(sa.delete(table))  # what migrations put there
        self._insert = sa.insert(table)
        self._columns = {column: KINDS[kind].read for column, kind in kinds.items()}

    def _flush(self) -> None:
        if self._rows and self._insert is not None:
            self._connection.execute(self._insert, self._rows)
        self._count += len(self._rows)
        self._rows = []
