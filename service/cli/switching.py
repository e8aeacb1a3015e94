"""How far a switch is, told by a command until it is over."""

import time
from typing import Any
from uuid import UUID

from rich.progress import BarColumn, Progress, TextColumn

from service.activations import Used
from service.catalog.activation_queries import ActivationRecord, get_activation
from service.catalog.session import Sessions, make_engine, make_read_sessions
from service.catalog.tables import JobState
from service.cli.console import CliError, command_name, err, out
from service.settings import Settings

LOOK_EVERY_S = 0.3
PATIENCE_S = 10.0
"""A switch that nobody has begun after this is said to wait for a worker."""
NO_WORKER = (
    "No worker has taken it yet. `{command} serve` brings one, or `{command} worker --tuner`; the "
    "switch begins by itself when one runs (Ctrl-C ends only this waiting)."
)


def follow(settings: Settings, name: str, used: Used, *, wait: bool) -> None:
    """Say what is searched now, or how far the way there is.

    Raises:
        CliError: the switch has failed or was cancelled.
    """
    if used.requested is None:
        already = "already" if used.was_active else "now"
        out.print(f"{name} is what is searched {already}.")
        return
    activation_id = used.requested.activation_id
    if used.requested.is_switched:
        out.print(f"{name} is what is searched now; the model before is kept.")
        return
    if not wait:
        out.print(f"{name} takes over when every video is embedded: activation {activation_id}.")
        return
    engine = make_engine(settings.sqlalchemy_url)
    try:
        _watch(make_read_sessions(engine), activation_id)
    except KeyboardInterrupt:
        err.print("It goes on without this command.")
        return
    finally:
        engine.dispose()
    out.print(
        f"{name} is what is searched now. `{command_name()} models rollback` goes back at once."
    )


def as_json_of_use(used: Used) -> dict[str, Any]:
    """Return what using a model changed, for `--json`."""
    requested = used.requested
    return {
        "was_active": used.was_active,
        "is_active": requested is None or requested.is_switched,
        "activation_id": None if requested is None else requested.activation_id,
        "job_id": None if requested is None else requested.job_id,
    }


def _watch(reads: Sessions, activation_id: UUID) -> None:
    began = time.monotonic()
    is_told = False
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, console=err, transient=True) as bar:
        shown = bar.add_task("waiting", total=100)
        while True:
            with reads() as session:
                record = get_activation(session, activation_id)
            job = record.job
            if job.state is JobState.DONE:
                return
            if job.state in (JobState.FAILED, JobState.CANCELLED):
                raise CliError(_why_over(record))
            bar.update(shown, completed=100 * job.progress, description=job.stage or "waiting")
            waits = job.state is JobState.QUEUED and time.monotonic() - began > PATIENCE_S
            if waits and not is_told:
                err.print(NO_WORKER.format(command=command_name()), soft_wrap=True)
                is_told = True
            time.sleep(LOOK_EVERY_S)


def _why_over(record: ActivationRecord) -> str:
    job = record.job
    if job.state is JobState.CANCELLED:
        return "The switch was cancelled; what was searched goes on."
    return f"The switch has failed; what was searched goes on. {job.detail or job.reason}"
