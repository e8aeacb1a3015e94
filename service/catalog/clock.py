"""The time as the database sees it: leases of workers on several hosts need one clock."""

from typing import Any

from sqlalchemy import ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from service.catalog.tables import UtcDateTime


class database_time(FunctionElement[Any]):  # noqa: N801 (it reads as an SQL function)
    """The time now, by the database's clock, plus some seconds."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, offset_s: float = 0.0) -> None:
        super().__init__(literal(float(offset_s)))


def _offset(element: database_time) -> ColumnElement[float]:
    (offset,) = element.clauses
    return offset


@compiles(database_time, "postgresql")
def _postgresql(element: database_time, compiler: SQLCompiler, **options: Any) -> str:
    # now() is when the transaction began, which can be long ago
    offset = compiler.process(_offset(element), **options)
    return f"(clock_timestamp() + {offset} * interval '1 second')"


@compiles(database_time, "sqlite")
def _sqlite(element: database_time, compiler: SQLCompiler, **options: Any) -> str:
    # the text that SQLAlchemy stores has six digits after the second, SQLite's clock three
    offset = compiler.process(_offset(element), **options)
    moment = f"strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+.3f seconds', {offset}))"
    return f"({moment} || '000')"
