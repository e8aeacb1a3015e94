"""Ask for runs of evaluation sets; a worker does them (`workers.evaluating`)."""

from uuid import UUID

from service.catalog import evaluation_run_queries
from service.catalog.activation_tables import Trigger
from service.catalog.evaluation_run_queries import RunRecord
from service.catalog.session import Sessions, in_transaction
from service.jobs import JobSender, Task


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
    sender.send(Task.EVALUATE, record.job.id)
    return record
