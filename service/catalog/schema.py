"""Everything that is in the database: import it where the whole schema is meant."""

from service.catalog import activation_tables, caption_tables, evaluation_tables, tuning_tables
from service.catalog.tables import Base

__all__ = ["METADATA", "activation_tables", "caption_tables", "evaluation_tables", "tuning_tables"]

METADATA = Base.metadata
