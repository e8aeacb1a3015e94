"""`audit`: does what is stored keep the promises of docs/consistency.md?"""

import contextlib
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from service.catalog import audit as auditing
from service.catalog.process_queries import note_run
from service.catalog.session import (
    Sessions,
    in_transaction,
    make_engine,
    make_read_sessions,
    make_sessions,
)
from service.catalog.violations import Violation
from service.cli.client import KeyOption, open_api
from service.cli.console import Exit, JsonOption, escape, out, print_json, print_table
from service.cli.roots import database_errors, load_settings, require_database
from service.observing.installation import AUDIT
from service.storage import open_storage


def audit(
    *,
    digests: Annotated[
        bool, typer.Option(help="Read every file and compare its SHA-256; slow but thorough.")
    ] = True,
    replica: Annotated[
        list[str] | None,
        typer.Option(help="Address of an API process whose index is compared as well; repeatable."),
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that database and files agree, and the indexes of API processes if they are named.

    The exit code is 1 if any promise is broken.
    """
    settings = load_settings()
    require_database(settings)
    storage = open_storage(settings)
    engine = make_engine(settings.sqlalchemy_url)
    try:
        reads = make_read_sessions(engine)
        with database_errors(settings), reads() as session:
            found = auditing.audit(
                # the store is listed every half of the grace time
                session,
                storage,
                grace_s=2 * settings.orphan_grace_s,
                verify_digests=digests,
            )
        if replica:
            from service.cli.replica_audit import audit_replica  # noqa: PLC0415 (loads FAISS)
        for url in replica or ():
            with database_errors(settings), open_api(url, key) as api:
                found += audit_replica(reads, api)
        _remember(make_sessions(engine), found, digests=digests)
    finally:
        engine.dispose()
    if as_json:
        print_json({"ok": not found, "violations": [one._asdict() for one in found]})
    elif found:
        table = Table("Kind", "What", "Why", box=None, header_style="bold")
        for one in found:
            table.add_row(one.kind, escape(one.subject), escape(one.detail))
        print_table(table)
    else:
        out.print("Everything that is stored keeps its promises.")
    if found:
        raise typer.Exit(Exit.FAILED)


def _remember(sessions: Sessions, found: list[Violation], *, digests: bool) -> None:
    """Leave word for the figures and for `doctor`; a copy that cannot be written is audited too."""
    result = {"violations": len(found), "digests": digests}
    with contextlib.suppress(SQLAlchemyError):
        in_transaction(sessions, lambda session: note_run(session, AUDIT, result))
