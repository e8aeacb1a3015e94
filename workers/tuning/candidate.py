"""What comes of a run: its bundle among the models, its report, and perhaps an activation.

A worker may be killed after any step of this; the next one finds what is there and goes on.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.orm import Session

from service.activations import request_activation
from service.catalog import tuning_progress_queries, tuning_queries
from service.catalog.activation_tables import Trigger
from service.catalog.generation_queries import put_version
from service.catalog.session import in_transaction
from service.catalog.tables import Job
from service.encoder import read_facts
from service.errors import ConflictError
from service.registry import Facts, Model, Registry
from service.tunings.policies import is_activated
from workers.lease import Lease
from workers.resources import Resources
from workers.tuning.folder import BUNDLE, REPORT

FIRST_NAME = "tuned-"
BUSY_WAIT_S = 0.5
TRIES = 240

log = structlog.get_logger(__name__)


def register(job: Job, lease: Lease, resources: Resources, folder: Path) -> None:
    """Register the candidate of a run, close the job, and remove the folder.

    Raises:
        LostLeaseError: the job is not this worker's any more.
        JobStoppedError: the job was cancelled, or the worker shuts down.
        BundleError: the candidate cannot be loaded.
        StorageFullError: the disk is full.
    """
    report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    facts = read_facts(folder / BUNDLE)
    wanted = _wanted_name(job, resources)
    registry = Registry(resources.settings.data_dir)
    is_known = any(one.facts.digest == facts.digest for one in registry.list())
    model = publish(folder / BUNDLE, facts, wanted, registry, lease)
    if wanted not in (None, model.name):
        why = "it is the same, to the last digit" if is_known else f"{wanted} exists"
        _notify(job, resources, "other_name", f"The model is called {model.name}: {why}.")

    def write(session: Session) -> tuple[bool, tuning_queries.TuningRecord]:
        version = put_version(
            session,
            name=model.name,
            digest=facts.digest,
            path=str(model.path),
            spec=dict(facts.spec),
        )
        tuning = tuning_queries.set_candidate(
            session, job.id, job.fence, candidate_version_id=version.id, report=report
        )
        activates = is_activated(tuning.policy, str(report.get("verdict")))
        if not activates:
            tuning_queries.finish_tuning(session, job.id, job.fence)
        return activates, tuning_queries.get_tuning(session, tuning.id)

    activates, record = in_transaction(resources.sessions, write)
    if activates:
        _activate(job, resources, record)
        in_transaction(
            resources.sessions,
            lambda session: tuning_queries.finish_tuning(session, job.id, job.fence),
        )
    log.info("candidate_registered", name=model.name, verdict=report.get("verdict"))
    shutil.rmtree(folder, ignore_errors=True)  # else the sweep does it


def publish(
    bundle: Path, facts: Facts, wanted: str | None, registry: Registry, lease: Lease
) -> Model:
    """Put a bundle among the models of the data folder, unless it is there already.

    Args:
        bundle: its folder.
        facts: what it is.
        wanted: its name, if one was asked for; of one that is taken, a number makes another.
        registry: the models.
        lease: of the job; checked while another command adds a model.

    Raises:
        ConflictError: another command adds a model all the time, or something that is no model
            has the name.
    """
    for _ in range(TRIES):
        known = registry.list()
        for model in known:
            if model.facts.digest == facts.digest:
                return model
        name = _free_name(wanted, {model.name for model in known})
        try:
            with registry.adding(name, replace=False) as draft:
                shutil.copytree(bundle, draft.folder)
                draft.describe(facts, source="tuning")
        except ConflictError:  # another one adds a model now, or took the name
            lease.check()
            time.sleep(BUSY_WAIT_S)
        else:
            return registry.get(name)
    raise ConflictError("The candidate cannot be added: another command adds a model all the time.")


def _free_name(wanted: str | None, taken: set[str]) -> str:
    if wanted is not None and wanted not in taken:
        return wanted
    stem = FIRST_NAME if wanted is None else f"{wanted}-"
    numbers = (name.removeprefix(stem) for name in taken if name.startswith(stem))
    return f"{stem}{1 + max((int(each) for each in numbers if each.isdecimal()), default=0)}"


def _wanted_name(job: Job, resources: Resources) -> str | None:
    with resources.reads() as session:
        record = tuning_queries.get_tuning(session, job.subject_id)
    name = record.tuning.request.get("name")
    return None if name is None else str(name)


def _activate(job: Job, resources: Resources, record: tuning_queries.TuningRecord) -> None:
    """Let the candidate take over, once; where that is not possible now, a notice says so."""
    tuning = record.tuning
    if tuning.candidate_version_id is None:
        return
    with resources.reads() as session:
        if tuning_queries.was_activated(
            session, tuning.candidate_version_id, since=tuning.created_at
        ):
            return
    settings = resources.settings
    try:
        request_activation(
            resources.sessions,
            resources.sender,
            Registry(settings.data_dir),
            model_version_id=tuning.candidate_version_id,
            trigger=Trigger.POLICY,
            rollback_window_s=settings.rollback_window_s,
        )
    except ConflictError as error:
        _notify(job, resources, "not_activated", f"It was not activated: {error.detail}")


def _notify(job: Job, resources: Resources, reason: str, text: str) -> None:
    in_transaction(
        resources.sessions,
        lambda session: tuning_progress_queries.add_notice(
            session, job.id, job.fence, reason=reason, text=text
        ),
    )
