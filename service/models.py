"""Use cases of models: which ones there are, where they lie, and the first one that is used."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import model_queries
from service.catalog.embedding_queries import count_embedded_videos
from service.catalog.generation_queries import (
    ActiveGeneration,
    ensure_active_generation,
    find_active_generation,
    lock_active_generation,
    put_version,
)
from service.catalog.model_queries import VersionRecord
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import ModelVersion
from service.durable import full_disk_is_said, make_durable_folder, sync_file, sync_folder
from service.errors import ConflictError
from service.registry import BUNDLED, BUNDLED_PATH, Facts, Model, Registry, digest_of

UNTRAINED = (
    "The model {name!r} was never trained to find or to match anything: train it with "
    "`reelseek train --from {name}` first."
)
MATCHER_ONLY = (
    "The model {name!r} is a matcher only: it re-ranks, but has no embeddings to find anything by. "
    "Train its projections with `reelseek train --from {name}`, or put it behind an image-text "
    "model with `reelseek models add HUB_NAME_OR_FOLDER --matcher {name}`."
)


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A registered bundle, and the folder that it lies in.

    Attributes:
        record: what the catalog knows of it.
        folder: None if it is nowhere on this machine.
        size_bytes: of its files.
    """

    record: VersionRecord
    folder: Path | None
    size_bytes: int

    @property
    def is_bundled(self) -> bool:
        """Whether it came along."""
        return Path(self.record.version.bundle_path) == BUNDLED_PATH


def sync_versions(sessions: Sessions, registry: Registry, *, reads: Sessions | None = None) -> None:
    """Register the models of the data folder, and the one that comes along, in the catalog.

    Args:
        sessions: writing sessions.
        registry: the models of the data folder.
        reads: sessions that only read, if there are some: they wait for no writer.
    """
    found = {model.facts.digest: model for model in registry.list()}
    with (reads or sessions)() as session:
        unknown = model_queries.unknown_digests(session, found)
    if not unknown:
        return
    bundles = [
        {
            "name": model.name,
            "bundle_digest": digest,
            "bundle_path": str(model.path),
            "spec": _spec_of(model),
        }
        for digest, model in found.items()
    ]
    in_transaction(sessions, lambda session: model_queries.add_versions(session, bundles))


def list_models(
    sessions: Sessions, registry: Registry, *, reads: Sessions | None = None
) -> list[KnownModel]:
    """Return all models that can be used, or are in use, the oldest first; see `sync_versions`."""
    sync_versions(sessions, registry, reads=reads)
    with (reads or sessions)() as session:
        records = model_queries.list_versions(session)
    known = [_known(record, registry) for record in records]
    return [one for one in known if one.folder is not None or one.record.generation is not None]


def register(sessions: Sessions, model: Model, facts: Facts) -> ModelVersion:
    """Register a model in the catalog, with what its bundle is now."""
    return in_transaction(
        sessions,
        lambda session: put_version(
            session,
            name=model.name,
            digest=facts.digest,
            path=str(model.path),
            spec=dict(facts.spec),
        ),
    )


def use_if_first(sessions: Sessions, model: Model, facts: Facts) -> bool:
    """Search with a model from now on, unless videos were embedded by another one.

    Returns:
        Whether it is searched now.

    Raises:
        ConflictError: it cannot search.
    """
    refuse_unsearchable(model, facts)

    def work(session: Session) -> bool:
        lock_active_generation(session)
        active = find_active_generation(session)
        is_used = active is not None and count_embedded_videos(session, active.generation_id) > 0
        if active is not None and is_used and active.bundle_digest != facts.digest:
            return False
        ensure_active_generation(
            session,
            name=model.name,
            digest=facts.digest,
            path=str(model.path),
            spec=facts.spec,
        )
        return True

    return in_transaction(sessions, work)


def refuse_unsearchable(model: Model, facts: Facts) -> None:
    """Raise ConflictError if a model cannot be searched with."""
    if not facts.can_search:
        raise ConflictError(why_not(model), reason="cannot_search")


def why_not(model: Model) -> str:
    """Say why a model cannot be searched with, and what to do."""
    return (MATCHER_ONLY if model.facts.can_match else UNTRAINED).format(name=model.name)


def find_bundle(
    active: ActiveGeneration | None, registry: Registry, configured: Path | None
) -> Path:
    """Return the bundle folder to start with.

    Args:
        active: what is searched, if anything was ever registered.
        registry: the models of this data folder.
        configured: the folder that the settings name, if they do.

    Returns:
        The configured one; else that of the active generation, wherever it lies now; else the one
        that comes along.
    """
    if configured is not None:
        return configured
    found = active and registry.locate(digest=active.bundle_digest, registered=active.bundle_path)
    return found or BUNDLED_PATH


def keep_bundle(registry: Registry, *, digest: str, folder: Path) -> None:
    """Copy a bundle that videos are embedded with into the data folder, if it lies elsewhere.

    An update of the package brings other files to the same place, and a folder that somebody named
    may go; searches need the bundle for as long as its embeddings are there.

    Raises:
        StorageFullError: the disk is full.
    """
    kept = registry.kept / digest
    is_ours = folder.absolute().is_relative_to(registry.kept.parent)
    if kept.is_dir() or is_ours or digest_of(folder) != digest:
        return
    with full_disk_is_said():
        make_durable_folder(registry.kept)
        draft = Path(tempfile.mkdtemp(prefix=".keeping-", dir=registry.kept))
        try:
            shutil.copytree(folder, draft / digest)
            for each in (draft / digest).rglob("*"):
                sync_file(each) if each.is_file() else sync_folder(each)
            sync_folder(draft / digest)
            if not kept.is_dir():
                (draft / digest).rename(kept)
            sync_folder(registry.kept)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def notice_of(active: ActiveGeneration, configured: Path | None) -> str | None:
    """Say that another bundle is configured, or came along, than the one that is searched.

    Returns:
        One or two sentences with what to do; None if nothing needs to be said.
    """
    if configured is not None:
        if digest_of(configured) == active.bundle_digest:
            return None
        return (
            f"REELSEEK_BUNDLE names {configured}, but the videos are embedded by {active.name}, "
            f"which is searched. To let the other one take over: `reelseek models add {configured} "
            "--name NAME`, then `reelseek models use NAME`."
        )
    is_former = active.name == BUNDLED and digest_of(BUNDLED_PATH) != active.bundle_digest
    if not is_former:
        return None
    return (
        "This version brings another bundled checkpoint; the videos are embedded by the former "
        f"one, which is searched. To let the new one take over: `reelseek models use {BUNDLED}`."
    )


def is_anything_embedded(session: Session) -> bool:
    """Tell whether videos were embedded by the model that is searched."""
    active = find_active_generation(session)
    return active is not None and count_embedded_videos(session, active.generation_id) > 0


def version_id_of(sessions: Sessions, digest: str) -> UUID | None:
    """Return the id of a registered bundle."""
    with sessions() as session:
        version = model_queries.find_version(session, digest)
        return None if version is None else version.id


def _spec_of(model: Model) -> dict[str, object]:
    """Return what is known without loading it; whoever embeds with it writes the rest."""
    abilities = {
        "family": model.facts.family,
        "has_retriever": model.facts.can_search,
        "has_matcher": model.facts.can_match,
    }
    return dict(model.facts.spec) or dict(abilities)


def _known(record: VersionRecord, registry: Registry) -> KnownModel:
    version = record.version
    folder = registry.locate(digest=version.bundle_digest, registered=version.bundle_path)
    files = [] if folder is None else [each for each in folder.rglob("*") if each.is_file()]
    return KnownModel(
        record=record, folder=folder, size_bytes=sum(each.stat().st_size for each in files)
    )
