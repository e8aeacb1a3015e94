"""How far an index outside our processes has followed the change log."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, utc_now


class Applied(Base):
    """The last change that an outer index holds durably, by generation."""

    __tablename__ = "applied_changes"

    index_name: Mapped[str] = mapped_column(String(64), primary_key=True)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    epoch: Mapped[str] = mapped_column(String(36))
    seq: Mapped[int] = mapped_column(BigInteger)
    chain: Mapped[str] = mapped_column(String(64))
    place: Mapped[str | None] = mapped_column(String(255))
    """What holds it outside; another one after it was built anew. None: nothing does yet."""
    fence: Mapped[int] = mapped_column(default=0)
    """Goes up with each process that takes the feeding over."""
    lease_until: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)
