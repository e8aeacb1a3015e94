"""What commands start from: the settings, and the database as the process sees it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError, ProgrammingError

from service.backup.restoring import NOTE
from service.catalog.revisions import Standing, standing_of
from service.catalog.session import make_engine
from service.cli.console import CliError, Exit, command_name
from service.errors import ServiceError
from service.settings import Settings


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        CliError: a variable has a value that is not allowed.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "REELSEEK_" + "_".join(str(part) for part in wrong["loc"]).upper()
        raise CliError(
            f"{name} is {wrong['input']!r}: {wrong['msg'].lower()}; change or unset it.",
            code=Exit.USAGE,
        ) from None


def make_data_dir(settings: Settings) -> Path:
    """Make the folder that everything is kept in, and check that it can be written.

    Raises:
        CliError: it cannot be, or a restore into it was not finished.
    """
    folder = make_writable_folder(settings)
    if (folder / NOTE).exists():
        raise CliError(
            f"A restore into {folder} was not finished: run the same `{command_name()} restore` "
            "again; it goes on where it was."
        )
    return folder


def make_writable_folder(settings: Settings) -> Path:
    """Make the data folder, also for a restore that goes on.

    Raises:
        CliError: it cannot be written.
    """
    folder = settings.data_dir.absolute()
    mend = "set REELSEEK_DATA_DIR to a folder that you may write."
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CliError(
            f"The data folder {folder} cannot be made ({error.strerror}); {mend}"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CliError(f"The data folder {folder} is not writable; {mend}")
    return folder


def require_database(settings: Settings) -> None:
    """Keep a command from making an empty database where a folder was mistyped.

    Raises:
        CliError: there is none yet.
    """
    if settings.database_url is None and not (settings.data_dir / "reelseek.sqlite").exists():
        raise CliError(
            f"Nothing was ever started with the data folder {settings.data_dir.absolute()}; "
            "use `make run`, or set REELSEEK_DATA_DIR to the folder that the service uses."
        )


def require_schema(settings: Settings) -> None:
    """Keep a process from starting on a database that this release was never migrated to.

    Raises:
        CliError: `migrate` comes first.
        sqlalchemy.exc.OperationalError: the database does not answer.
    """
    if settings.database_url is None and not (settings.data_dir / "reelseek.sqlite").exists():
        standing = Standing.EMPTY  # looking would make the file
    else:
        engine = make_engine(settings.sqlalchemy_url)
        try:
            with engine.connect() as connection:
                standing, _ = standing_of(connection)
        finally:
            engine.dispose()
    if standing in {Standing.EMPTY, Standing.OLDER}:
        state = "is empty" if standing is Standing.EMPTY else "has the schema of an older release"
        raise CliError(f"The database {state}: run `{command_name()} migrate` first.")


@contextmanager
def database_errors(settings: Settings) -> Iterator[None]:
    """Turn what commands that use the database directly may meet into one sentence."""
    try:
        yield
    except ServiceError as error:
        raise CliError(error.detail) from error
    except (OperationalError, ProgrammingError) as error:
        cause = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
        raise CliError(
            f"The database does not answer as it should ({cause}); check "
            f"{'REELSEEK_DATABASE_URL' if settings.database_url else 'REELSEEK_DATA_DIR'} "
            f"and run `{command_name()} migrate`."
        ) from error
