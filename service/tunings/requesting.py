"""Ask for a tuning run: find the model and the pairs, see that they make sense, queue it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from service import pairs as pairing
from service.catalog import tuning_queries
from service.catalog.generation_queries import active_generation
from service.catalog.session import Sessions, allow_idling, in_transaction
from service.catalog.tuning_queries import BaseVersion
from service.catalog.tuning_tables import Tuning, TuningPair
from service.errors import ConflictError
from service.jobs import JobSender, Task
from service.pairs import Pair, PairFilter, Split
from service.registry import Registry, check_name
from service.tunings.request import TuningRequest
from service.tunings.sufficiency import check_enough, warnings_of, why_no_pairs

TRAINABLE = ("all_in_one", "clover")
"""Families whose weights are trained here."""


@dataclass(frozen=True, kw_only=True)
class Requested:
    """A run that waits for its turn."""

    tuning_id: UUID
    job_id: UUID


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request with what was found for it.

    Attributes:
        base: what to start from.
        folder: of its bundle.
        request: what was asked.
        split: pairs to train on and to measure on; nobody is asked for a negative one.
        duplicates: groups of videos that show the same.
    """

    base: BaseVersion
    folder: Path
    request: TuningRequest
    split: Split
    duplicates: Sequence[Sequence[UUID]]

    @property
    def pairs(self) -> list[tuple[Pair, bool]]:
        """All pairs in the order of a run, and whether each is held out."""
        sides = (self.split.train, False), (self.split.held_out, True)
        return [(pair, is_held_out) for side, is_held_out in sides for pair in side]

    def counts(self) -> dict[str, int]:
        """Return how many pairs and videos are on either side."""
        train = [pair for pair in self.split.train if not pair.is_negative]
        held_out = self.split.held_out
        return {
            "train": len(train),
            "held_out": len(held_out),
            "videos_train": len({pair.video_id for pair in train}),
            "videos_held_out": len({pair.video_id for pair in held_out}),
            "negative": len(self.split.train) - len(train),
        }

    def warnings(self) -> list[str]:
        """Return sentences that an admin should read before the run starts."""
        return warnings_of(self.counts(), self.request)


def request_tuning(
    sessions: Sessions,
    reads: Sessions,
    sender: JobSender,
    registry: Registry,
    request: TuningRequest,
    *,
    created_by: UUID | None = None,
) -> Requested:
    """Queue a run: it, its pairs and its job are written together, then a worker is woken.

    Args:
        sessions: writing sessions.
        reads: reading sessions.
        sender: wakes workers.
        registry: the models of this data folder.
        request: what to do.
        created_by: the API key that asks.

    Raises:
        NotFoundError: there is no such model.
        ConflictError: the model is not trained here, its name is taken, or there are too few pairs.
        InvalidInputError: a choice does not fit the pairs.
    """
    with reads() as session:  # with many videos it takes a while: no writer should wait for it
        groups = _find_duplicates(session, request.pairs)

    def write(session: Session) -> Requested:
        prepared = _prepare(session, registry, request, groups, holds=True)
        tuning = Tuning(
            base_version_id=prepared.base.id,
            policy=request.policy,
            request=request.as_json(),
            plan={
                "pairs": prepared.counts(),
                "warnings": prepared.warnings(),
                "duplicates": [[str(each) for each in group] for group in prepared.duplicates],
            },
            created_by=created_by,
        )
        job = tuning_queries.add_tuning(session, tuning, _rows(prepared))
        return Requested(tuning_id=tuning.id, job_id=job.id)

    requested = in_transaction(sessions, write)
    sender.send(Task.TUNE, requested.job_id)
    return requested


def look_ahead(reads: Sessions, registry: Registry, request: TuningRequest) -> Prepared:
    """Find the model and the pairs of a run without starting it.

    Raises:
        ServiceError: as `request_tuning`.
    """
    with reads() as session:
        groups = _find_duplicates(session, request.pairs)
        return _prepare(session, registry, request, groups)


def _prepare(
    session: Session,
    registry: Registry,
    request: TuningRequest,
    groups: Mapping[UUID, int],
    *,
    holds: bool = False,
) -> Prepared:
    if request.name is not None:
        _check_free(session, registry, request.name)
    base, folder = _find_base(session, registry, request.model_id)
    found = pairing.collect_pairs(session, request.pairs, holds=holds)
    if all(pair.is_negative for pair in found):
        raise ConflictError(why_no_pairs(request.pairs), reason="no_pairs")
    prepared = Prepared(
        base=base,
        folder=folder,
        request=request,
        split=_split(found, request, groups),
        duplicates=_grouped(groups, {pair.video_id for pair in found}),
    )
    check_enough(prepared.counts(), request)
    return prepared


def cancel_tuning(sessions: Sessions, tuning_id: UUID) -> None:
    """Cancel a run; what works on it stops after the step in progress.

    Raises:
        NotFoundError: there is none with this id.
        ConflictError: it has ended already.
    """
    in_transaction(sessions, lambda session: tuning_queries.cancel_tuning(session, tuning_id))


def _find_duplicates(session: Session, wanted: PairFilter) -> Mapping[UUID, int]:
    """Return the groups of videos that look the same to the model that is searched."""
    allow_idling(session)
    videos = {pair.video_id for pair in pairing.collect_pairs(session, wanted)}
    generation = active_generation(session)
    return pairing.duplicate_groups(session, generation.generation_id, videos)


def _check_free(session: Session, registry: Registry, name: str) -> None:
    check_name(name)
    taken = {model.name for model in registry.list()} | tuning_queries.open_names(session)
    if name in taken:
        raise ConflictError(
            f"There is, or will be, a model {name!r} already; choose another name, or none.",
            reason="name_taken",
        )


def _find_base(
    session: Session, registry: Registry, model_id: UUID | None
) -> tuple[BaseVersion, Path]:
    """Return the model to start from, with its folder."""
    wanted = model_id or active_generation(session).model_version_id
    base = tuning_queries.find_base_version(session, wanted)
    folder = registry.locate(digest=base.bundle_digest, registered=base.bundle_path)
    if folder is None:
        raise ConflictError(
            f"The bundle of the model {base.name!r} is not in {base.bundle_path} any more; put it "
            "back, or start from another model (model_id).",
            reason="bundle_missing",
        )
    family = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("family")
    if family not in TRAINABLE:
        raise ConflictError(
            f"The model {base.name!r} is of the family {family!r}, whose weights are not trained "
            f"here; start from one of {' or '.join(TRAINABLE)} (model_id; GET /v1/models lists "
            "them), as the bundled one.",
            reason="not_trainable",
        )
    return base, folder


def _split(found: Sequence[Pair], request: TuningRequest, groups: Mapping[UUID, int]) -> Split:
    split = pairing.split_pairs(
        found,
        held_out_share=request.held_out_share,
        seed=request.seed,
        groups=groups,
        hold_out=request.hold_out,
    )
    asked = [pair for pair in split.held_out if not pair.is_negative]
    return Split(train=split.train, held_out=asked)


def _rows(prepared: Prepared) -> list[TuningPair]:
    return [
        TuningPair(
            ordinal=ordinal,
            origin=pair.origin,
            origin_id=pair.origin_id,
            video_id=pair.video_id,
            text=pair.text,
            start_s=pair.start_s,
            end_s=pair.end_s,
            is_held_out=is_held_out,
            is_negative=pair.is_negative,
        )
        for ordinal, (pair, is_held_out) in enumerate(prepared.pairs)
    ]


def _grouped(groups: Mapping[UUID, int], videos: set[UUID]) -> list[list[UUID]]:
    """Return the groups that have more than one of these videos."""
    members: dict[int, list[UUID]] = {}
    for video_id in sorted(videos):
        if video_id in groups:
            members.setdefault(groups[video_id], []).append(video_id)
    return [group for group in members.values() if len(group) > 1]
