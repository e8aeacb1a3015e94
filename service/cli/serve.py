"""`serve`, `worker`, `migrate`: the processes of Reelseek."""

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer
import uvicorn
from sqlalchemy.exc import OperationalError

from service import access
from service.allocator import share_arenas
from service.api.connections import BACKLOG, server_config
from service.catalog.session import Sessions, make_engine, make_sessions, upgrade
from service.cli.client import local_address
from service.cli.console import CliError, command_name, escape, out
from service.cli.keys import login_link
from service.cli.local_key import ensure_local_key
from service.cli.roots import (
    database_errors,
    load_settings,
    make_data_dir,
    require_schema,
)
from service.cli.supervisor import Child, ChildGaveUpError, Supervisor
from service.cli.worker_command import ERRANDS, INGESTING, TUNING, worker_command
from service.settings import Settings

READY_TIMEOUT_S = 1.0
AT_A_TERMINAL = {"drain_s": 3.0, "log_level": "warning"}
"""What a person who watches prefers to the defaults: to see trouble only, and to stop soon."""
STOP_MARGIN_S = 12.0
"""How much longer than its work a process may take to stop."""
PATIENCE_S = 15.0
"""How long a start may take before a person is told what it waits for."""


@dataclass(frozen=True, kw_only=True)
class FirstWords:
    """What a person is told once the service is ready."""

    address: str
    login_link: str
    data_dir: Path
    new_admin_key: str | None
    has_worker: bool


def serve(
    *,
    worker: Annotated[bool, typer.Option(help="Start the workers as well.")] = True,
) -> None:
    """Run everything on this machine: API, page and worker. Ctrl-C stops it."""
    settings = load_settings()
    folder = make_data_dir(settings)
    listener = _listen(settings)
    preferred = {k: v for k, v in AT_A_TERMINAL.items() if k not in settings.model_fields_set}
    settings = settings.model_copy(update={"port": listener.getsockname()[1], **preferred})
    with database_errors(settings):
        upgrade(settings.sqlalchemy_url)
        words = _let_in(settings, folder, address=local_address(settings), worker=worker)
    children = [Child("API", _api_command(listener), pass_fds=(listener.fileno(),))]
    if worker:
        kinds = (INGESTING, TUNING, ERRANDS)
        children += [Child(kind.name, worker_command(settings, kind)) for kind in kinds]
    supervisor = Supervisor(
        children,
        environment=_environment(settings, folder),
        report=say,
        stop_within_s=settings.drain_notice_s + settings.drain_s + STOP_MARGIN_S,
    )
    readiness = Readiness(words.address, say)
    out.print("Reelseek is starting ...")
    try:
        supervisor.run(is_ready=readiness.look, on_ready=lambda: _greet(words))
    except ChildGaveUpError as error:
        raise CliError(
            f"The {error.name} does not stay up (exit code {error.code}); what it printed above "
            f"says why, and `{command_name()} doctor` checks this machine."
        ) from error
    finally:
        listener.close()
    out.print("Stopped.")


def worker(
    *,
    tuner: Annotated[
        bool, typer.Option("--tuner", help="Tune, switch and evaluate instead of ingesting.")
    ] = False,
    courier: Annotated[
        bool, typer.Option("--courier", help="Fetch imports and tell webhooks instead.")
    ] = False,
) -> None:
    """Run one worker that ingests, one that tunes, or one for errands (the API runs elsewhere)."""
    if tuner and courier:
        raise CliError("A worker is a tuner or a courier, not both: start two.")
    settings = load_settings()
    with suppress(OperationalError):  # a database that is away is waited for
        require_schema(settings)
    command = worker_command(settings, TUNING if tuner else ERRANDS if courier else INGESTING)
    os.execvpe(command[0], command, _quiet_openmp())  # noqa: S606 (our own command, no shell)


def migrate() -> None:
    """Bring the database to the newest schema; processes of the release before may go on."""
    settings = load_settings()
    make_data_dir(settings)
    with database_errors(settings):
        before, after = upgrade(settings.sqlalchemy_url)
    if before == after:
        out.print("The database is up to date.")
    else:
        out.print(f"The database went from schema {before or 'none'} to {after}.")


def api(
    *,
    fd: Annotated[
        int | None, typer.Option(help="Listening socket that was inherited, instead of a port.")
    ] = None,
) -> None:
    """Serve the API alone, for workers that run elsewhere; `migrate` comes first."""
    settings = load_settings()
    with database_errors(settings):
        require_schema(settings)
    # one that the supervisor holds: a restart refuses no connection
    listener = _listen(settings) if fd is None else socket.socket(fileno=fd)
    share_arenas()
    config = server_config(settings, app="service.main:create_app", factory=True)
    uvicorn.Server(config).run(sockets=[listener])


def say(sentence: str) -> None:
    """Tell a person, in one line whatever its length."""
    out.print(escape(sentence), soft_wrap=True)


def _listen(settings: Settings) -> socket.socket:
    """Open the port, so that nobody else can take it while the API starts."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CliError(
            f"Cannot listen on {settings.host} port {settings.port} ({error.strerror}); stop what "
            "uses it, or choose another with REELSEEK_PORT=8001."
        ) from None


def _api_command(listener: socket.socket) -> list[str]:
    return [sys.executable, "-m", "service.cli", "api", "--fd", str(listener.fileno())]


def _quiet_openmp() -> dict[str, str]:
    """Return the environment with OpenMP threads that sleep instead of spinning while they wait.

    Spinning threads of one process take the cores from the others.
    """
    return {"OMP_WAIT_POLICY": "passive", **os.environ}


def _environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Return what all children are told."""
    return {
        **_quiet_openmp(),
        "REELSEEK_DATA_DIR": str(folder),
        "REELSEEK_DRAIN_S": str(settings.drain_s),
        "REELSEEK_LOG_LEVEL": settings.log_level,
        "REELSEEK_PORT": str(settings.port),
        "PYTHONUNBUFFERED": "1",
    }


def _let_in(settings: Settings, folder: Path, *, address: str, worker: bool) -> FirstWords:
    """Make the keys that a first start needs, and a login link."""
    engine = make_engine(settings.sqlalchemy_url)
    try:
        sessions: Sessions = make_sessions(engine)
        new_admin_key = access.ensure_admin_key(sessions, settings)
        ensure_local_key(settings, sessions)
        token = access.make_login_token(sessions, ttl_s=settings.login_link_ttl_s)
    finally:
        engine.dispose()
    return FirstWords(
        address=address,
        login_link=login_link(settings.public_url or address, token),
        data_dir=folder,
        new_admin_key=new_admin_key,
        has_worker=worker,
    )


class Readiness:
    """Asks the API whether it is ready, and tells a person why not when that takes long."""

    def __init__(self, address: str, report: Callable[[str], None]) -> None:
        self._address = address
        self._report = report
        self._patience = time.monotonic() + PATIENCE_S
        self._told = ""

    def look(self) -> bool:
        """Ask once."""
        try:
            answer = httpx.get(f"{self._address}/readyz", timeout=READY_TIMEOUT_S, trust_env=False)
        except httpx.HTTPError:
            return False
        if answer.is_success:
            return True
        if time.monotonic() > self._patience:
            self._tell(answer)
        return False

    def _tell(self, answer: httpx.Response) -> None:
        try:
            why = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            why = f"it answered {answer.status_code}"
        if why != self._told:
            self._told = why
            self._report(f"Not ready yet: {why}")


def _greet(words: FirstWords) -> None:
    """Say where it is and how to get in."""
    name = command_name()
    out.print()
    out.print("[bold green]Reelseek is ready.[/]")
    out.print(f"  Log in   {words.login_link}", soft_wrap=True)
    out.print(f"           (works once; `{name} login` makes another)", soft_wrap=True)
    out.print(f"  API      {words.address}/v1 (described at {words.address}/docs)", soft_wrap=True)
    out.print(f"  Data     {words.data_dir}", soft_wrap=True)
    out.print(f"  Try      {name} demo, {name} ingest FOLDER, {name} search TEXT", soft_wrap=True)
    out.print("  Stop     Ctrl-C")
    if not words.has_worker:
        out.print(f"  No worker runs here: start one with `{name} worker`.", soft_wrap=True)
    if words.new_admin_key:
        out.print()
        out.print(f"  Admin key (shown only now): {words.new_admin_key}", soft_wrap=True)
    out.print()
