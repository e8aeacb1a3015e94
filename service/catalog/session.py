"""Engines, sessions and transactions; what SQLite and PostgreSQL need to keep what they say."""

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from service.errors import UnavailableError

log = structlog.get_logger(__name__)

Sessions = sessionmaker[Session]
T = TypeVar("T")

BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S, SILENT_SERVER_S = 5, 15
IDLE_TRANSACTION_S = 30.0
"""PostgreSQL ends a transaction in which nothing is asked for so long: a process that was frozen
would keep its locks from all others. What takes longer says so with `allow_idling`."""
POOL_SIZE = 8
POOL_OVERFLOW = 32  # API threads beyond the pool; released when they are done
TRIES = 6
MIGRATION_LOCK_MS = 500
"""How long others may have to wait behind a change of a table; less than the second after which
PostgreSQL ends one of those that wait for each other: it is the migration that gives way."""
MIGRATION_PAUSE_S, MIGRATION_PATIENCE_S = 1.0, 60.0
SERIALIZATION_FAILURE, DEADLOCK_DETECTED, WAS_IDLE = "40001", "40P01", "25P03"
DISK_FULL, LOCK_NOT_AVAILABLE, TOO_MANY_CONNECTIONS = "53100", "55P03", "53300"
SQLITE_FULL, SQLITE_BUSY = 13, 5
READ_ONLY = "reelseek_read_only"
MIGRATIONS = Path(__file__).parents[2] / "migrations"  # beside `service`, installed or not

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()
_last_word: ContextVar[Callable[[Session], None] | None] = ContextVar("last_word", default=None)


def make_engine(
    url: str, *, wait_s: float | None = None, idle_s: float = IDLE_TRANSACTION_S
) -> Engine:
    """Open a database.

    Args:
        url: `sqlite:///path` or `postgresql://...` (psycopg 3 speaks to it).
        wait_s: longest wait for a connection or a lock, seconds; None = that of a process that
            has time: 30 s, and for locks of PostgreSQL as long as it takes.
        idle_s: PostgreSQL ends a transaction in which nothing is asked for so long, seconds.
    """
    parsed = _with_driver(make_url(url))
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = create_engine(
        parsed,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        hide_parameters=True,  # errors are logged, and texts, names and digests are none of its
        pool_timeout=wait_s or BUSY_TIMEOUT_S,
        pool_pre_ping=not is_sqlite,
        connect_args=(
            _sqlite_arguments(wait_s) if is_sqlite else _postgresql_arguments(wait_s, idle_s)
        ),
    )
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    _engines.add(engine)
    return engine


def make_sessions(engine: Engine) -> Sessions:
    """Make the factory of sessions that write: on SQLite they take the write lock at once."""
    return sessionmaker(engine, expire_on_commit=False)


def make_read_sessions(engine: Engine) -> Sessions:
    """Make the factory of sessions that only read: they never wait for a writer on SQLite."""
    reader = engine.execution_options(**{READ_ONLY: True})
    if engine.dialect.name == "postgresql":
        reader = reader.execution_options(postgresql_readonly=True)
    return sessionmaker(reader, expire_on_commit=False)


def in_transaction(sessions: Sessions, work: Callable[[Session], T]) -> T:
    """Run `work` in a transaction, commit, and return what it returned.

    What the database asks to be tried again (a deadlock, a serialization failure, a unique key
    that another transaction took meanwhile, a pause of this process) is tried again, so `work`
    must not have effects elsewhere that cannot be repeated.
    """
    for attempt in range(1, TRIES):
        try:
            with sessions.begin() as session:
                return _worked(session, work)
        except DBAPIError as error:
            if not _is_worth_retrying(error):
                raise
            log.info("transaction_retried", attempt=attempt, error=type(error.orig).__name__)
            time.sleep(0.01 * 2**attempt)
    with sessions.begin() as session:
        return _worked(session, work)


@contextmanager
def last_word(speak: Callable[[Session], None]) -> Iterator[None]:
    """Let `speak` take part in each `in_transaction` of this context, just before its commit."""
    token = _last_word.set(speak)
    try:
        yield
    finally:
        _last_word.reset(token)


def _worked(session: Session, work: Callable[[Session], T]) -> T:
    result = work(session)
    speak = _last_word.get()
    if speak is not None:
        speak(session)
    return result


def allow_idling(database: Session | Connection) -> None:
    """Let this transaction last, however long nothing is asked in it.

    For what reads and reckons for minutes; and for what must not go on behind a lock that it lost
    unnoticed, because it acts elsewhere under it.
    """
    connection = database.connection() if isinstance(database, Session) else database
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def is_disk_full(error: DBAPIError) -> bool:
    """Tell whether the database's own disk has no room for what should be written."""
    sqlite_code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return sqlite_code == SQLITE_FULL or getattr(error.orig, "sqlstate", None) == DISK_FULL


def is_busy(error: DBAPIError) -> bool:
    """Tell whether others held what this needed for too long: a lock, or every connection."""
    sqlite_code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlite_code == SQLITE_BUSY or sqlstate in {LOCK_NOT_AVAILABLE, TOO_MANY_CONNECTIONS}


def upgrade(url: str, *, patience_s: float = MIGRATION_PATIENCE_S) -> tuple[str | None, str]:
    """Bring the schema to the newest migration; harmless if it is there already.

    Safe while processes of the release before work on it. A change of a table waits for the
    transactions that use it, and whoever comes later waits behind that: so it waits a moment only,
    lets them pass and tries again.

    Args:
        url: of the database.
        patience_s: how long to go on trying.

    Returns:
        The migration that it was at, None for none, and the one that it is at now.

    Raises:
        UnavailableError: a transaction kept a table for all that time; the migrations before the
            one that needed it are kept.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = make_engine(url)
    deadline = time.monotonic() + patience_s
    steps: list[str | None] = []
    try:
        while True:
            try:
                revision, is_over = _migrate_once(engine)
                steps.append(revision)
                if is_over:
                    return steps[0], revision or ""
                continue
            except DBAPIError as error:
                is_deadlock = getattr(error.orig, "sqlstate", None) == DEADLOCK_DETECTED
                if not is_busy(error) and not is_deadlock:
                    raise
                blockers = _long_transactions(engine)
                log.warning("migration_waits", blockers=blockers)
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"Other transactions keep tables ({', '.join(blockers) or 'short ones'}): "
                        "end them, or try again when there is less to do. The migrations before "
                        "this one are kept, and disturb nobody.",
                        reason="migration_blocked",
                    ) from error
            time.sleep(MIGRATION_PAUSE_S)
    finally:
        engine.dispose()


def _migrate_once(engine: Engine) -> tuple[str | None, bool]:
    """Apply the next migration; return what it was at, and whether nothing is left to do.

    Each has a transaction of its own: one that held a table while it waited for the next would
    wait for those who wait for it, and two busy processes would keep it out for ever. An empty
    database has nobody else, and gets all of them at once.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # two processes may start at once
            connection.execute(text("SELECT pg_advisory_xact_lock(7264411)"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_LOCK_MS}ms'"))
        config = alembic_config(connection)
        before = MigrationContext.configure(connection).get_current_revision()
        scripts = ScriptDirectory.from_config(config)
        if before == scripts.get_current_head():
            return before, True
        if before is not None and before not in {one.revision for one in scripts.walk_revisions()}:
            return before, True  # of a later release: its migrations only added to the schema
        command.upgrade(config, "head" if before is None else "+1")
        return before, False


def _long_transactions(engine: Engine) -> list[str]:
    """Name the transactions that last for longer than a change of a table waits."""
    if engine.dialect.name != "postgresql":
        return []
    found = text(
        "SELECT pid, state, extract(epoch FROM clock_timestamp() - xact_start)::int "
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND clock_timestamp() - xact_start > make_interval(secs => :seconds) ORDER BY xact_start"
    )
    with engine.connect() as connection:
        rows = connection.execute(found, {"seconds": MIGRATION_LOCK_MS / 1000}).all()
    return [f"process {pid} of the server: {state} for {seconds} s" for pid, state, seconds in rows]


def alembic_config(connection: Connection) -> Config:
    """Configure Alembic to work inside the transaction of a connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def durability_problems(engine: Engine) -> list[str]:
    """Say which settings of the server would let it forget a commit that it acknowledged."""
    if engine.dialect.name == "sqlite":
        wanted = {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2"}
    else:
        wanted = {"SHOW fsync": "on", "SHOW full_page_writes": "on", "SHOW synchronous_commit": ""}
    problems = []
    with engine.connect() as connection:
        for statement, good in wanted.items():
            value = str(connection.execute(text(statement)).scalar_one())
            is_good = value == good if good else value != "off"
            if not is_good:
                problems.append(f"{statement.split()[1]} is {value}")
    return problems


def warn_of_forgetful_database(engine: Engine) -> None:
    """Log it if the server would forget commits in a power cut; called when a process starts."""
    problems = durability_problems(engine)
    if problems:
        log.warning("database_may_forget_commits", problems=problems)


def _with_driver(url: URL) -> URL:
    if url.drivername in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    return url


def _sqlite_arguments(wait_s: float | None) -> dict[str, Any]:
    return {"timeout": wait_s or BUSY_TIMEOUT_S}


def _postgresql_arguments(wait_s: float | None, idle_s: float) -> dict[str, Any]:
    """Notice a server that vanished without a word within seconds, not the kernel's hours."""
    limits = {"idle_in_transaction_session_timeout": idle_s}
    if wait_s is not None:
        limits["lock_timeout"] = wait_s
    return {
        "options": " ".join(f"-c {name}={round(s * 1000)}" for name, s in limits.items()),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 5,
        "tcp_user_timeout": SILENT_SERVER_S * 1000,
    }


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    is_read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if is_read_only else 'OFF'}")
    # A transaction that begins as a reader and then writes fails at once if another one wrote
    connection.exec_driver_sql("BEGIN DEFERRED" if is_read_only else "BEGIN IMMEDIATE")


def _is_worth_retrying(error: DBAPIError) -> bool:
    if isinstance(error, IntegrityError):
        return True
    worth_it = {SERIALIZATION_FAILURE, DEADLOCK_DETECTED, WAS_IDLE}
    return getattr(error.orig, "sqlstate", None) in worth_it


def _forget_connections() -> None:
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)  # a connection belongs to one process
