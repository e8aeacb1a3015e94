"""`keys` and `login`: who may come in. They work on the database, not through the API."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from service import access
from service.access import Scope
from service.catalog.session import Sessions, make_engine, make_sessions
from service.catalog.tables import ApiKey
from service.cli.client import UrlOption, local_address
from service.cli.console import JsonOption, err, escape, out, print_json, print_table
from service.cli.roots import database_errors, load_settings, require_database
from service.settings import Settings

DEFAULT_SCOPES = (Scope.SEARCH, Scope.READ)

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; may be given again. search and read if unset."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show it, this once."""
    with open_sessions(load_settings()) as sessions:
        made = access.make_key(sessions, name=name, scopes=tuple(scope or DEFAULT_SCOPES))
    if as_json:
        print_json({**_as_json(made.key), "key": made.secret})
        return
    out.print(made.secret, soft_wrap=True)
    err.print("Keep it: it is not shown again. Send it as `Authorization: Bearer KEY`.")


@keys.command("list")
def list_keys(*, as_json: JsonOption = False) -> None:
    """List the keys that work; the secrets themselves are not stored and cannot be shown."""
    with open_sessions(load_settings()) as sessions, sessions() as session:
        rows = access.list_keys(session)
    if as_json:
        print_json([_as_json(row) for row in rows])
        return
    table = Table("Id", "Name", "Scopes", "Made", box=None, header_style="bold")
    for row in rows:
        made_at = f"{row.created_at:%Y-%m-%d %H:%M}"
        table.add_row(str(row.id), escape(row.name), " ".join(row.scopes), made_at)
    print_table(table)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `keys list` shows it.")],
) -> None:
    """Make a key worthless at once."""
    with open_sessions(load_settings()) as sessions:
        access.revoke_key(sessions, key_id)
    out.print("Revoked.")


def login(*, url: UrlOption = None) -> None:
    """Make a one-time link that logs a browser in."""
    settings = load_settings()
    with open_sessions(settings) as sessions:
        token = access.make_login_token(sessions, ttl_s=settings.login_link_ttl_s)
    address = url or settings.public_url or local_address(settings)
    out.print(login_link(address, token), soft_wrap=True)
    minutes = max(1, settings.login_link_ttl_s // 60)
    err.print(f"Open it in a browser: it works once, within {minutes} minutes.")


def login_link(address: str, token: str) -> str:
    """Return the link; what stands behind # never leaves the browser, so no log holds it."""
    return f"{address.rstrip('/')}/#login={token}"


def _as_json(key: ApiKey) -> dict[str, Any]:
    return {"id": key.id, "name": key.name, "scopes": key.scopes, "created_at": key.created_at}


@contextmanager
def open_sessions(settings: Settings) -> Iterator[Sessions]:
    """Open the database for one command, as `database_errors` and `require_database` do."""
    require_database(settings)
    with database_errors(settings):
        engine = make_engine(settings.sqlalchemy_url)
        try:
            yield make_sessions(engine)
        finally:
            engine.dispose()
