"""A creating request that is sent again with its key is carried out once, and answered the same.

The key is reserved before anything is done, under a lease. The first transaction in which the
request writes marks it as done, fenced by the reservation: after a crash nobody carries it out
again, and a request that was too slow for its lease writes nothing. Failures are not kept: what
failed may be tried again with the same key.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy.orm import Session

from service.catalog import idempotency_queries as queries
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import IdempotencyKey, KeyState
from service.errors import ConflictError, InvalidInputError

MAX_KEY = 255
LEASE_S = 60.0
RETRY_AFTER_S = 2
MAX_ANSWER_CHARS = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class IdempotencyToken:
    """What makes a repetition of a request known: the key that its sender chose."""

    owner: str
    key: str

    def __post_init__(self) -> None:
        """Check the key.

        Raises:
            InvalidInputError: it is empty, too long or not printable.
        """
        if not (1 <= len(self.key) <= MAX_KEY and self.key.isprintable()):
            raise InvalidInputError(f"An idempotency key has 1 to {MAX_KEY} printable characters.")


@dataclass(frozen=True, kw_only=True)
class KeptAnswer:
    """What a request was answered.

    Attributes:
        status: the HTTP status.
        headers: those that a repetition gets, too.
        body: text; empty where it held a secret.
        has_secret: the body held a secret, which is kept nowhere.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    has_secret: bool = False


Reservation = queries.Claim
"""The right to carry out a request."""


def begin(
    sessions: Sessions, token: IdempotencyToken, digest: str, *, lease_s: float = LEASE_S
) -> Reservation | KeptAnswer:
    """Reserve the key for a request, or return what the same request was answered before.

    Args:
        sessions: writing sessions.
        token: the key, and whose it is.
        digest: what makes it the same request as another one.
        lease_s: after so long another one may carry it out, if this one has written nothing.

    Raises:
        ConflictError: the key was used for another request, the same one is being carried out,
            its answer was lost, or held a secret that is shown only once.
    """

    def work(session: Session) -> Reservation | KeptAnswer:
        reservation = Reservation(owner=token.owner, key=token.key, claim=uuid4())
        mine: dict[str, Any] = asdict(reservation)
        if queries.reserve_key(session, **mine, digest=digest, lease_s=lease_s):
            return reservation
        earlier = queries.find_key(session, owner=token.owner, key=token.key)
        if earlier is None:  # it failed just now, and was released
            raise _in_progress()
        if earlier.request_digest != digest:
            raise reused()
        if earlier.state is KeyState.ANSWERED:
            return _answer_of(earlier)
        if earlier.state is KeyState.DONE and not queries.is_leased(session, earlier):
            raise _answer_lost()
        if queries.take_over(session, **mine, lease_s=lease_s):
            return reservation
        raise _in_progress()

    return in_transaction(sessions, work)


def mark_done(session: Session, reservation: Reservation) -> None:
    """Mark the request as done, in the transaction that does it.

    Raises:
        ConflictError: its lease was over, and another one took its place: write nothing.
    """
    if not queries.mark_done(session, reservation):
        raise _in_progress()


def keep(sessions: Sessions, reservation: Reservation, answer: KeptAnswer) -> None:
    """Keep the answer to a request that succeeded; one that is too long is not kept."""
    if len(answer.body) > MAX_ANSWER_CHARS:
        return
    kept = {
        "status": answer.status,
        "headers": dict(answer.headers),
        "body": "" if answer.has_secret else answer.body,
        "has_secret": answer.has_secret,
    }
    in_transaction(sessions, lambda s: queries.keep_answer(s, reservation, kept))


def release(sessions: Sessions, reservation: Reservation, *, even_if_done: bool) -> None:
    """Let a request that failed be tried again.

    Args:
        sessions: writing sessions.
        reservation: that of the request.
        even_if_done: also if something was committed: its sender was told that it failed.
    """
    in_transaction(
        sessions,
        lambda s: queries.release_key(s, reservation, even_if_done=even_if_done),
    )


def reused() -> ConflictError:
    """Return the failure of a key that was used for another request."""
    return ConflictError(
        "This idempotency key was used for another request. Choose a new one.",
        reason="idempotency_key_reused",
    )


def _answer_of(earlier: IdempotencyKey) -> KeptAnswer:
    """Return what an earlier request was answered.

    Raises:
        ConflictError: with a secret, which is kept nowhere.
    """
    answer = KeptAnswer(**earlier.response)
    if answer.has_secret:
        made = answer.headers.get("location", "it")
        raise ConflictError(
            f"This was done, and its secret was shown then, only once: see {made}. "
            "If it was lost, delete that and make another with a new idempotency key.",
            reason="secret_shown_once",
        )
    return answer


def _answer_lost() -> ConflictError:
    return ConflictError(
        "This request was carried out, but its answer was lost. "
        "Look for what it made before you send it with another key.",
        reason="idempotency_answer_lost",
    )


def _in_progress() -> ConflictError:
    return ConflictError(
        "The same request is being carried out; try again in a moment.",
        reason="idempotency_in_progress",
        retry_after_s=RETRY_AFTER_S,
    )
