"""Do the indexes of running API processes hold what the database says?"""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from service.catalog.change_queries import read_counter
from service.catalog.generation_queries import generation_bundle
from service.catalog.session import Sessions
from service.catalog.violations import Violation
from service.cli.client import Api
from service.index.content import Content, content_of
from service.index.loading import load_view

LOOKS = 40
LOOK_EVERY_S = 0.5


def audit_replica(sessions: Sessions, api: Api) -> Iterator[Violation]:
    """Yield what an API process would find and should not, or the other way round.

    Both sides are looked at until they stand at the same change, since neither stops for us.

    Args:
        sessions: transactions that only read.
        api: of the process.
    """
    subject = f"replica {api.url}"
    behind = "it never stood at the change that the database was at; try when less is uploaded"
    for _ in range(LOOKS):
        held = api.get("/v1/system/replica")["generations"]
        compared = [_compare(sessions, one, subject) for one in held]
        if held and None not in compared:
            yield from (violation for found in compared if found for violation in found)
            return
        time.sleep(LOOK_EVERY_S)
    yield Violation("replica_behind", subject, behind)


def _compare(sessions: Sessions, held: dict[str, Any], subject: str) -> list[Violation] | None:
    """Return what differs; None if the two are not at the same change."""
    with sessions() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        counter = read_counter(session)
        if (held["epoch"], held["seq"]) != (counter.epoch, counter.seq):
            return None
        generation = generation_bundle(session, UUID(held["generation_id"]))
        wanted = content_of(load_view(session, generation, kind="flat_fp16"))
    return list(_differences(wanted, held, subject))


def _differences(wanted: Content, held: dict[str, Any], subject: str) -> Iterator[Violation]:
    where = f"generation {wanted.generation_id} at change {wanted.seq}"
    if held["num_segments"] != wanted.num_segments:
        yield Violation(
            "replica_differs",
            subject,
            f"{where}: it finds {held['num_segments']} segments, {wanted.num_segments} are stored",
        )
    elif held["keys_digest"] != wanted.keys_digest:
        yield Violation("replica_differs", subject, f"{where}: it finds other segments")
    elif held["vectors_digest"] not in (None, wanted.vectors_digest):
        yield Violation("replica_differs", subject, f"{where}: its embeddings are others")
