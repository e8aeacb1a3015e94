"""deliver(): tell one webhook of one event, and see to it that it is tried again."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.catalog import delivery_queries
from service.catalog import webhook_rest_queries as rest
from service.catalog.delivery_queries import Sent
from service.catalog.message_queries import forget_sent
from service.catalog.session import in_transaction
from service.catalog.tables import Job, utc_now
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery
from service.jobs import Task
from service.outbound import Limits, Outbound, OutboundError, Policy
from service.settings import Settings
from service.webhooks.signing import body_of, headers_of, message_id_of
from workers.lease import Lease
from workers.resources import Resources

WAITS_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0)
"""Between one try and the next; then a message is given up."""
JITTER = 0.2
"""Share by which a wait is longer or shorter, so that what failed together is spread."""
GONE = 410
MARGIN_S = 5.0
"""A turn is longer than the longest try, so that there is one try at a time."""
ANSWER_BYTES = 64 * 1024
LOOK_EVERY_S = 1.0
AT_ONCE = 200
"""Messages that one look wakes couriers for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of one try, and of the webhook.

    Attributes:
        sent: what is kept of it.
        is_taken: the webhook took the message.
        retry_after_s: when it wants to be told again, if it said so.
    """

    sent: Sent
    is_taken: bool
    retry_after_s: int | None = None


def deliver(job: Job, lease: Lease, resources: Resources) -> None:
    """Tell one webhook of one event; 2xx is taken, anything else is tried again.

    Raises:
        LostLeaseError: another worker has the job; then the webhook may be told twice, and sees
            that by the message's id.
    """
    with resources.reads() as session:
        delivery, webhook = delivery_queries.load_delivery(session, job.subject_id)
    commit = partial(_commit, job, resources)
    if delivery.state is not DeliveryState.WAITING or not webhook.is_enabled:
        nothing = Sent(status=delivery.status, detail="The webhook is disabled or deleted.")
        commit(partial(delivery_queries.commit_given_up, sent=nothing, is_tried=False))
        return
    turn_s = resources.settings.webhook_timeout_s + MARGIN_S
    is_failing = webhook.failures > 0
    if is_failing and not in_transaction(
        resources.sessions, lambda session: rest.take_turn(session, webhook.id, for_s=turn_s)
    ):
        commit(delivery_queries.commit_resting)
        return
    lease.check()
    tried = send(delivery, webhook, resources.settings)
    sent = tried.sent
    is_gone = in_transaction(resources.sessions, lambda session: _note(session, webhook, tried))
    if tried.is_taken:
        commit(partial(delivery_queries.commit_delivered, sent=sent))
    elif is_gone or delivery.tries >= len(WAITS_S):
        commit(partial(delivery_queries.commit_given_up, sent=sent))
    else:
        wait_s = wait_before_next(delivery.tries, tried.retry_after_s)
        commit(partial(delivery_queries.commit_retry, sent=sent, wait_s=wait_s))
    log.info("webhook_told", event_type=delivery.event, status=sent.status, is_taken=tried.is_taken)


def _note(session: Session, webhook: Webhook, tried: Tried) -> bool:
    """Remember whether a webhook answers, if only to refuse this message, or is to rest.

    Returns:
        Whether it is gone for good; False if its address was changed meanwhile.
    """
    if tried.sent.status == GONE:
        return rest.disable_webhook(session, webhook, reason="It answered 410 Gone.")
    if rest.is_away(tried.sent.status):
        rest.note_failure(session, webhook, retry_after_s=tried.retry_after_s)
    elif webhook.failures:
        rest.note_answer(session, webhook)
    return False


def send(delivery: WebhookDelivery, webhook: Webhook, settings: Settings) -> Tried:
    """Send a message once."""
    policy = Policy.of(allow=settings.outbound_allow, ports=settings.outbound_ports)
    timeout_s = settings.webhook_timeout_s
    limits = Limits(total_s=timeout_s, idle_s=timeout_s, max_bytes=ANSWER_BYTES, redirects=0)
    body = body_of(delivery.payload)
    headers = headers_of(message_id_of(delivery.id), int(time.time()), body, _secrets_of(webhook))
    try:
        with Outbound(policy).post(webhook.url, body, limits, headers=headers) as answer:
            detail = None if answer.is_success else f"It answered {answer.status}."
            return Tried(
                sent=Sent(status=answer.status, detail=detail),
                is_taken=answer.is_success,
                retry_after_s=answer.retry_after_s,
            )
    except OutboundError as error:
        return Tried(sent=Sent(status=None, detail=error.detail), is_taken=False)


def _secrets_of(webhook: Webhook) -> list[bytes]:
    until = webhook.old_secret_until
    is_old_valid = webhook.old_secret is not None and until is not None and utc_now() < until
    old = [webhook.old_secret] if webhook.old_secret and is_old_valid else []
    return [webhook.secret, *old]


def wait_before_next(tries: int, retry_after_s: int | None) -> float:
    """Return how long a message waits before it is tried again, seconds.

    Args:
        tries: how often it was tried before this time.
        retry_after_s: what the webhook asks for.
    """
    wait_s = WAITS_S[tries] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (no secret)
    return max(wait_s, min(float(retry_after_s or 0), WAITS_S[-1]))


def _commit(job: Job, resources: Resources, write: Callable[[Session, UUID, int], None]) -> None:
    def work(session: Session) -> None:
        write(session, job.id, job.fence)

    in_transaction(resources.sessions, work)


def keep_waking(resources: Resources, stopped: threading.Event) -> None:
    """Send what is due to couriers, looking every second, until `stopped` is set.

    Whatever announces an event need not know of brokers, and waits between tries are kept.
    """
    while not stopped.wait(LOOK_EVERY_S):
        try:
            wake(resources)
        except OperationalError as error:
            log.warning("couriers_not_woken", error=str(error.orig))
        except Exception:  # the next look will do
            log.exception("couriers_not_woken")


def wake(resources: Resources) -> int:
    """Send what is due to couriers; return how many messages that were."""
    with resources.reads() as session:
        if not delivery_queries.has_unsent(session):
            return 0
    due = in_transaction(
        resources.sessions, lambda session: delivery_queries.take_unsent(session, limit=AT_ONCE)
    )
    for number, job_id in enumerate(due):
        if not resources.sender.send(Task.DELIVER, job_id):
            # the broker is away: the next look sends them
            in_transaction(
                resources.sessions,
                lambda session: forget_sent(session, due[number:]),  # noqa: B023
            )
            return number
    return len(due)
