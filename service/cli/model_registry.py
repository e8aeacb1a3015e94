"""What the commands of `models` share: the registry, the catalog behind it, and how they fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from service.activations import Used, use_model
from service.catalog import retired_queries
from service.catalog.generation_queries import ActiveGeneration, find_active_generation
from service.catalog.session import Sessions, make_engine, make_sessions, upgrade
from service.cli.console import CliError
from service.cli.roots import database_errors
from service.jobs import JobSender
from service.models import find_bundle
from service.registry import Model, Registry
from service.settings import Settings


@contextmanager
def errors_as_sentences(settings: Settings) -> Iterator[None]:
    """Turn what can be wrong with a model, its files or the database into one sentence."""
    with database_errors(settings):
        try:
            yield
        except ValueError as error:
            if not _is_refusal(error):
                raise
            sentence = str(error)
            raise CliError(sentence if sentence.endswith(".") else f"{sentence}.") from error
        except OSError as error:
            raise CliError(f"{error.filename or 'A file'}: {error.strerror or error}.") from error


def _is_refusal(error: ValueError) -> bool:
    from model.bundle_files import BundleError  # noqa: PLC0415 (torch is slow to import)
    from model.importing.errors import ImportRefusedError  # noqa: PLC0415

    return isinstance(error, ImportRefusedError | BundleError)


def prepare_catalog(settings: Settings) -> None:
    """Make the database if there is none: a model may come before the first start."""
    upgrade(settings.sqlalchemy_url)


@contextmanager
def open_catalog(settings: Settings) -> Iterator[Sessions]:
    """Open the database, which must be there."""
    engine = make_engine(settings.sqlalchemy_url)
    try:
        yield make_sessions(engine)
    finally:
        engine.dispose()


def active_digest(settings: Settings) -> str | None:
    """Return the digest of the bundle that is searched; None before the first start."""
    active = _find_active(settings)
    return None if active is None else active.bundle_digest


def digests_in_use(settings: Settings) -> set[str]:
    """Return the digests of the bundles that embeddings were made by, or are being made."""
    with open_catalog(settings) as sessions, sessions() as session:
        return retired_queries.digests_in_use(session)


def bundle_in_use(settings: Settings) -> Path:
    """Return the folder of the model that is searched, or would be after a first start.

    A database that cannot be read is somebody else's to report: then it is the one that a start
    without a database would take.
    """
    try:
        active = _find_active(settings)
    except SQLAlchemyError:
        active = None
    return find_bundle(active, Registry(settings.data_dir), settings.bundle)


def _find_active(settings: Settings) -> ActiveGeneration | None:
    if settings.database_url is None and not (settings.data_dir / "reelseek.sqlite").exists():
        return None
    with open_catalog(settings) as sessions, sessions() as session:
        return find_active_generation(session)


def as_json_of(model: Model, active: str | None) -> dict[str, Any]:
    """Return a model for `--json`."""
    return {
        "name": model.name,
        "is_active": model.facts.digest == active,
        "family": model.facts.family,
        "can_search": model.facts.can_search,
        "can_match": model.facts.can_match,
        "digest": model.facts.digest,
        "source": model.source,
        "added_at": model.added_at,
        "size_bytes": model.size_bytes,
        "path": model.path,
        "spec": dict(model.facts.spec),
    }


def switch_to(settings: Settings, model: Model, *, force: bool = False) -> Used:
    """Load a model, to be sure that it can be used, and search with it, now or soon."""
    from service.encoder import read_facts  # noqa: PLC0415 (torch is slow to import)

    facts = read_facts(model.path)
    with open_catalog(settings) as sessions, open_sender(settings) as sender:
        return use_model(
            sessions,
            sender,
            Registry(settings.data_dir),
            model=model,
            facts=facts,
            force=force,
            rollback_window_s=settings.rollback_window_s,
        )


@contextmanager
def open_sender(settings: Settings) -> Iterator[JobSender]:
    """Open the door to the workers."""
    sender = JobSender(settings)
    try:
        yield sender
    finally:
        sender.close()
