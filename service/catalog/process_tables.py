"""Which processes run, and what was done for the last time when."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, utc_now


class Process(Base):
    """One running process; it renews its row every few seconds and removes it when it stops."""

    __tablename__ = "processes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    """`api`, `worker`, `tuner` or `courier`."""
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(64))
    facts: Mapped[dict[str, Any]]
    """What else it tells of itself: of an API, how far its replica is."""
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime]
    """By the clock of the database."""


class LastRun(Base):
    """When something that people run now and then was last done, and how it ended."""

    __tablename__ = "last_runs"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    """`audit`, `backup` or `restore`."""
    finished_at: Mapped[datetime]
    result: Mapped[dict[str, Any]]
