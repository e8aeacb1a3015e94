"""The key that commands on the same machine use, so that a newcomer need not copy one.

It lies below data_dir, readable by its owner alone, who could read the database there anyway. It
may search, read and write, but is no admin key; `reelseek keys list` shows it, `keys revoke` ends
it, and the next start makes another.
"""

import os
from pathlib import Path

from service import access
from service.access import Scope
from service.catalog.session import Sessions
from service.errors import UnauthenticatedError
from service.settings import Settings

KEY_FILE = "local.key"
NAME = "commands on this machine"
SCOPES = (Scope.SEARCH, Scope.READ, Scope.WRITE)


def read_local_key(data_dir: Path) -> str | None:
    """Return the key that `serve` left for commands, if this user may read it."""
    try:
        return (data_dir / KEY_FILE).read_text().strip() or None
    except OSError:
        return None


def ensure_local_key(settings: Settings, sessions: Sessions) -> None:
    """Leave a key that works; one that was revoked, or belongs to another database, is replaced."""
    key = read_local_key(settings.data_dir)
    if key is not None and _works(key, settings, sessions):
        return
    made = access.make_key(sessions, name=NAME, scopes=SCOPES)
    path = settings.data_dir / KEY_FILE
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made.secret + "\n")


def _works(key: str, settings: Settings, sessions: Sessions) -> bool:
    try:
        with sessions() as session:
            access.authenticate(session, key, settings=settings)
    except UnauthenticatedError:
        return False
    return True
