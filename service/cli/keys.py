"""`keys` and `login`: who may come in. They work on the database, not through the API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from service import access, audit_log
from service.access import Limits, NewKey, Scope
from service.catalog.audit_log_queries import list_events
from service.catalog.door_tables import ApiKey, AuditEvent
from service.catalog.session import Sessions, make_engine, make_sessions
from service.catalog.tables import utc_now
from service.cli.client import UrlOption, local_address
from service.cli.console import (
    CliError,
    Exit,
    JsonOption,
    err,
    escape,
    out,
    print_json,
    print_table,
)
from service.cli.roots import database_errors, load_settings, require_database
from service.settings import Settings

DEFAULT_SCOPES = (Scope.SEARCH, Scope.READ)
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

keys = typer.Typer(help="Make, list, rotate and revoke API keys.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; may be given again. search and read if unset."),
    ] = None,
    expires_in: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it ends, as 90d or 12h; never if unset."),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=0, help="Rate of its own; 0: any number.")
    ] = None,
    searches_per_minute: Annotated[
        int | None, typer.Option(min=0, help="Rate of its own; 0: any number.")
    ] = None,
    upload_bytes_per_day: Annotated[
        int | None, typer.Option(min=0, help="Quota of its own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show it, this once."""
    limits = Limits(
        requests_per_minute=requests_per_minute,
        searches_per_minute=searches_per_minute,
        upload_bytes_per_day=upload_bytes_per_day,
    )
    with open_sessions(load_settings()) as sessions:
        made = access.make_key(
            sessions,
            name=name,
            scopes=tuple(scope or DEFAULT_SCOPES),
            expires_in_s=None if expires_in is None else seconds_of(expires_in),
            limits=limits,
            actor=audit_log.command_actor(),
        )
    _show_once(made, as_json=as_json)


@keys.command("list")
def list_keys(*, as_json: JsonOption = False) -> None:
    """List the keys that were not revoked; the secrets themselves are not stored."""
    with open_sessions(load_settings()) as sessions, sessions() as session:
        rows = access.list_keys(session)
    if as_json:
        print_json([_as_json(row) for row in rows])
        return
    columns = ("Id", "Name", "Scopes", "Made", "Last used", "Ends")
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        ends = "never" if row.expires_at is None else _minute(row.expires_at)
        if row.expires_at is not None and row.expires_at <= utc_now():
            ends = f"ended {ends}"
        table.add_row(
            str(row.id),
            escape(row.name),
            " ".join(row.scopes),
            _minute(row.created_at),
            _minute(row.last_used_at) if row.last_used_at else "never",
            ends,
        )
    print_table(table)


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `keys list` shows it.")],
    *,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long the old key still works, as 1d or 0s.")
    ] = "1d",
    as_json: JsonOption = False,
) -> None:
    """Make a key that takes the place of another one, and show it, this once."""
    with open_sessions(load_settings()) as sessions:
        made = access.rotate_key(
            sessions, key_id, grace_s=seconds_of(grace), actor=audit_log.command_actor()
        )
    _show_once(made, as_json=as_json)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `keys list` shows it.")],
) -> None:
    """Make a key worthless at once."""
    with open_sessions(load_settings()) as sessions:
        access.revoke_key(sessions, key_id, actor=audit_log.command_actor())
    out.print("Revoked.")


@keys.command("log")
def show_log(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what administrators did: the audit log."""
    with open_sessions(load_settings()) as sessions, sessions() as session:
        events = list_events(session, limit=limit)
    if as_json:
        print_json([_event_as_json(event) for event in events])
        return
    table = Table("When", "Who", "What", "To what", "From", box=None, header_style="bold")
    for event in events:
        table.add_row(
            f"{event.at:%Y-%m-%d %H:%M:%S}",
            escape(event.actor),
            escape(event.action),
            escape(event.subject or ""),
            escape(event.address or ""),
        )
    print_table(table)


def login(*, url: UrlOption = None) -> None:
    """Make a one-time link that logs a browser in."""
    settings = load_settings()
    with open_sessions(settings) as sessions:
        token = access.make_login_token(
            sessions, ttl_s=settings.login_link_ttl_s, actor=audit_log.command_actor()
        )
    address = url or settings.public_url or local_address(settings)
    out.print(login_link(address, token), soft_wrap=True)
    minutes = max(1, settings.login_link_ttl_s // 60)
    err.print(f"Open it in a browser: it works once, within {minutes} minutes.")


def login_link(address: str, token: str) -> str:
    """Return the link; what stands behind # never leaves the browser, so no log holds it."""
    return f"{address.rstrip('/')}/#login={token}"


def seconds_of(text: str) -> int:
    """Return a time as people write it: 90d, 12h, 30m, 10s.

    Raises:
        CliError: it is none.
    """
    found = re.fullmatch(r"(\d{1,9})([smhd])", text.strip())
    if found is None:
        raise CliError(
            f"{text!r} is no time; write a number and s, m, h or d, as 90d.", code=Exit.USAGE
        )
    return int(found[1]) * UNITS_S[found[2]]


def _show_once(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json({**_as_json(made.key), "key": made.secret})
        return
    out.print(made.secret, soft_wrap=True)
    err.print("Keep it: it is not shown again. Send it as `Authorization: Bearer KEY`.")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _as_json(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "limits": key.limits,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "rotated_to": key.rotated_to,
    }


def _event_as_json(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.at,
        "actor": event.actor,
        "action": event.action,
        "subject": event.subject,
        "detail": event.detail,
        "request_id": event.request_id,
        "address": event.address,
    }


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
