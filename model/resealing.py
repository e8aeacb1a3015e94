"""Change the configuration of a bundle that is there, so that a kill leaves the old or the new one.

Two files change, the configuration and the card that seals it, and no file system renames two at
once. So both are written beside the old ones first; once the new card is there, the change is
decided, and whoever finds it finishes it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.bundle_files import (
    CARD,
    CONFIG,
    check_digests,
    combine,
    digest_file,
    read_json,
    write_json,
)

NEXT_CONFIG, NEXT_CARD = f"{CONFIG}.next", f"{CARD}.next"
DRAFT = f"{CARD}.draft"


def change_config(folder: Path, changes: Mapping[str, Any]) -> str:
    """Change some keys of a bundle's configuration and return its new digest.

    Args:
        folder: the bundle; nobody else may be reading it, because its digest changes.
        changes: keys and what they shall hold, as JSON.

    Raises:
        BundleError: the bundle is damaged.
    """
    finish_change(folder)
    check_digests(folder)
    _write(folder / NEXT_CONFIG, {**read_json(folder / CONFIG), **changes})
    card = read_json(folder / CARD)
    files = {**card["files"], CONFIG: digest_file(folder / NEXT_CONFIG)}
    digest = combine(files)
    _write(folder / DRAFT, {**card, "digest": digest, "files": files})
    (folder / DRAFT).rename(folder / NEXT_CARD)
    finish_change(folder)
    return digest


def finish_change(folder: Path) -> None:
    """Finish a change that was decided when its process was killed; drop one that was not."""
    (folder / DRAFT).unlink(missing_ok=True)
    if (folder / NEXT_CARD).exists():
        if (folder / NEXT_CONFIG).exists():
            (folder / NEXT_CONFIG).replace(folder / CONFIG)
        (folder / NEXT_CARD).replace(folder / CARD)
    (folder / NEXT_CONFIG).unlink(missing_ok=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    write_json(path, content)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
