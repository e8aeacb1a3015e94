"""What is shown of the models that were registered, and of the generations that they made."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.tables import Generation, GenerationState, ModelVersion
from service.catalog.tuning_tables import Tuning
from service.errors import NotFoundError


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """A registered bundle.

    Attributes:
        version: its row.
        generation: of those that it made the one that is in use, if any.
        num_videos: how many videos are embedded there.
        tuning: the run that made it, if one did.
    """

    version: ModelVersion
    generation: Generation | None
    num_videos: int
    tuning: Tuning | None


def add_versions(session: Session, bundles: Sequence[Mapping[str, Any]]) -> None:
    """Register bundles that are not registered yet: `name`, `bundle_digest`, `bundle_path`, `spec`.

    What is registered keeps what is known of it; only its name follows.
    """
    digests = [one["bundle_digest"] for one in bundles]
    known = {
        version.bundle_digest: version
        for version in session.scalars(
            select(ModelVersion).where(ModelVersion.bundle_digest.in_(digests))
        )
    }
    for one in bundles:
        version = known.get(one["bundle_digest"])
        if version is None:
            session.add(ModelVersion(**one))
        else:
            version.name, version.bundle_path = one["name"], one["bundle_path"]
    session.flush()


def unknown_digests(session: Session, digests: Collection[str]) -> set[str]:
    """Return those digests that no registered bundle has."""
    known = select(ModelVersion.bundle_digest).where(ModelVersion.bundle_digest.in_(digests))
    return set(digests) - set(session.scalars(known))


def find_version(session: Session, digest: str) -> ModelVersion | None:
    """Return the registered bundle with this digest."""
    return session.scalar(select(ModelVersion).where(ModelVersion.bundle_digest == digest))


def get_version(session: Session, version_id: UUID) -> ModelVersion:
    """Return a registered bundle.

    Raises:
        NotFoundError: there is none with this id.
    """
    version = session.get(ModelVersion, version_id)
    if version is None:
        raise NotFoundError(f"There is no model {version_id}; GET /v1/models lists them.")
    return version


def list_versions(session: Session) -> list[VersionRecord]:
    """Return everything that was registered, the oldest first."""
    rank = [GenerationState.RETIRED, GenerationState.BUILDING, GenerationState.KEPT]
    in_use: dict[UUID, Generation] = {}
    made = select(Generation).where(Generation.state != GenerationState.RETIRED)
    for generation in sorted(
        session.scalars(made), key=lambda one: rank.index(one.state) if one.state in rank else 9
    ):
        in_use[generation.model_version_id] = generation
    numbers = select(GenerationVideo.generation_id, func.count()).group_by(
        GenerationVideo.generation_id
    )
    counted = {row[0]: row[1] for row in session.execute(numbers)}
    tunings = {
        tuning.candidate_version_id: tuning
        for tuning in session.scalars(
            select(Tuning).where(Tuning.candidate_version_id.is_not(None))
        )
    }
    records = []
    for version in session.scalars(select(ModelVersion).order_by(ModelVersion.created_at)):
        found = in_use.get(version.id)
        records.append(
            VersionRecord(
                version=version,
                generation=found,
                num_videos=counted.get(found.id, 0) if found else 0,
                tuning=tunings.get(version.id),
            )
        )
    return records


def newest_kept(session: Session) -> Generation | None:
    """Return the generation that was searched last before the active one and is still kept."""
    return session.scalar(
        select(Generation)
        .where(Generation.state == GenerationState.KEPT)
        .order_by(Generation.kept_until.desc())
        .limit(1)
    )
