"""Run migrations on the connection that was handed over, or on the database of the settings."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, Enum

from service.catalog.schema import METADATA
from service.catalog.session import make_engine
from service.catalog.tables import UtcDateTime
from service.settings import Settings


def render_plainly(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write plain column types into new migrations: they must not change when our classes do."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, Enum):
        return f"sa.String({item.length})"
    return False


def run(connection: Connection) -> None:
    """Run what was asked for inside the transaction of the connection."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",  # it cannot alter a column
        compare_type=True,
        render_item=render_plainly,
        transactional_ddl=True,
    )
    context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    engine = make_engine(Settings().sqlalchemy_url)
    with engine.begin() as own:
        run(own)
    engine.dispose()
