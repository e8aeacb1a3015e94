"""Checks of `doctor` that look at servers: database, broker, the API itself."""

import socket

import httpx
from kombu.connection import Connection
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import SQLAlchemyError

from service.catalog.revisions import Standing, standing_of
from service.catalog.session import durability_problems, make_engine
from service.cli.client import local_address
from service.cli.console import command_name
from service.cli.finding import Check, bad, first_line, good, last_line, note
from service.errors import UnavailableError
from service.index.milvus_store import MilvusStore
from service.settings import Settings

WAIT_S = 5.0


def check_database(settings: Settings) -> Check:
    """Does the database answer, is its schema the newest, and does it keep what it says?"""
    if settings.database_url is None and not (settings.data_dir / "reelseek.sqlite").exists():
        return note("Database", "SQLite, made at the first start")
    engine = make_engine(settings.sqlalchemy_url)
    try:
        with engine.connect() as connection:
            standing, at = standing_of(connection)
        finding = f"{engine.dialect.name}, schema {at or 'empty'}"
        if standing in {Standing.EMPTY, Standing.OLDER}:
            return bad("Database", finding, f"run `{command_name()} migrate`.")
        if problems := durability_problems(engine):
            mend = "change these settings of the server: it may lose what it acknowledged."
            return bad("Database", f"{engine.dialect.name}: {', '.join(problems)}", mend)
        if standing is Standing.LATER:
            mend = "nothing to do; of the processes some may be of that release."
            return note("Database", f"{finding}, of a later release than this one", mend)
    except SQLAlchemyError as error:
        mend = "start it, or correct REELSEEK_DATABASE_URL."
        return bad("Database", first_line(str(error.__cause__ or error)), mend)
    finally:
        engine.dispose()
    return good("Database", finding)


def check_broker(settings: Settings) -> Check:
    """Does the broker answer?"""
    if settings.broker_url is None:
        return good("Broker", "embedded, files below the data folder")
    try:
        with Connection(  # type: ignore[no-untyped-call]
            settings.broker_url, connect_timeout=WAIT_S
        ) as connection:
            connection.ensure_connection(max_retries=1, timeout=WAIT_S)
    except (OSError, BrokerError) as error:
        return bad("Broker", last_line(str(error)), "start it, or correct REELSEEK_BROKER_URL.")
    return good("Broker", "answers")


def check_index(settings: Settings) -> Check:
    """Does the server that holds the index answer, if it is not FAISS in our own processes?"""
    if settings.milvus_uri is None:
        return good("Index", "FAISS, in each process that searches")
    token = settings.milvus_token
    try:
        store = MilvusStore(
            settings.milvus_uri,
            token="" if token is None else token.get_secret_value(),
            prefix=settings.milvus_prefix,
            kind=settings.milvus_index,
        )
        try:
            number = len(store.places())
        finally:
            store.close()
    except UnavailableError as error:
        mend = "start it, or correct REELSEEK_MILVUS_URI and REELSEEK_MILVUS_TOKEN: searches wait."
        return bad("Index", error.detail, mend)
    return good("Index", f"Milvus answers, and holds {number} of our collections")


def check_api(settings: Settings) -> Check:
    """Does Reelseek answer at its address, or is the port at least free?"""
    address = local_address(settings)
    try:
        is_ready = httpx.get(f"{address}/readyz", timeout=WAIT_S, trust_env=False).is_success
        is_ours = "reelseek" in httpx.get(f"{address}/openapi.json", trust_env=False).text.lower()
    except httpx.HTTPError:
        return _check_port(settings)
    if not is_ours:
        mend = "stop the other program, or choose a port with REELSEEK_PORT=8001."
        return bad("API", f"something else answers at {address}", mend)
    if not is_ready:
        return note("API", f"{address} answers, but is not ready yet", "wait a little.")
    return good("API", f"ready at {address}")


def _check_port(settings: Settings) -> Check:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        mend = "stop what uses the port, or choose another with REELSEEK_PORT=8001."
        return bad("API", f"cannot listen on port {settings.port}: {error.strerror}", mend)
    return note("API", "not running; its port is free", "start it with `make run`.")
