"""Everything that is in the database: import it where the whole schema is meant."""

from service.catalog import (
    activation_tables,
    applier_tables,
    caption_tables,
    door_tables,
    evaluation_tables,
    import_tables,
    process_tables,
    tuning_tables,
    upload_tables,
    webhook_tables,
)
from service.catalog.tables import Base

__all__ = [
    "METADATA",
    "activation_tables",
    "applier_tables",
    "caption_tables",
    "door_tables",
    "evaluation_tables",
    "import_tables",
    "process_tables",
    "tuning_tables",
    "upload_tables",
    "webhook_tables",
]

METADATA = Base.metadata
