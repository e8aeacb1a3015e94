"""Ask for runs of evaluation sets; a worker does them (`workers.evaluating`)."""

from uuid import UUID

import structlog

from service.catalog import evaluation_queries, evaluation_run_queries
from service.catalog.activation_tables import Activation, Trigger
from service.catalog.evaluation_run_queries import RunRecord
from service.catalog.session import Sessions, in_transaction
from service.jobs import TASK_OF, JobSender

log = structlog.get_logger(__name__)


def request_run(
    sessions: Sessions,
    sender: JobSender,
    set_id: UUID,
    *,
    trigger: Trigger = Trigger.PERSON,
    created_by: UUID | None = None,
) -> RunRecord:
    """Queue a run of a set against what is searched when it starts.

    Asking again while a run of the set waits gives that one: it will measure the same.

    Raises:
        NotFoundError: there is no such set.
    """
    record = in_transaction(
        sessions,
        lambda session: evaluation_run_queries.add_run(
            session, set_id, trigger=trigger, created_by=created_by
        ),
    )
    sender.send(TASK_OF[record.job.kind], record.job.id)
    return record


def run_all_after_switch(
    sessions: Sessions, sender: JobSender, activation: Activation
) -> list[RunRecord]:
    """Queue a run of the newest version of every set, now that another model is searched."""
    with sessions() as session:
        records = evaluation_queries.list_sets(session)
    runs = [
        request_run(
            sessions,
            sender,
            record.evaluation_set.id,
            trigger=Trigger.SWITCH,
            created_by=activation.created_by,
        )
        for record in records
    ]
    log.info("evaluations_queued", activation_id=str(activation.id), runs=len(runs))
    return runs
