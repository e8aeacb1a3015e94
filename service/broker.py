"""The embedded broker: a folder of messages, for installations without a Redis.

Kombu's own filesystem transport writes a message into the file that a worker may be reading at
that moment, and takes messages by way of the system's temporary folder. Here a message appears
complete, by a rename, and is taken by one.
"""

import contextlib
import json
import time
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, filesystem

SCHEME = "reelseek-folder"
LEFT_BEHIND_S = 60  # a message is written or read in milliseconds


class Channel(filesystem.Channel):
    """A channel whose messages appear and vanish in one step."""

    def _put(self, queue: str, message: Any, **_options: Any) -> None:  # type: ignore[override]
        name = f"{time.time_ns():020d}-{uuid4().hex}.{queue}.msg"
        folder = Path(self.data_folder_out)
        part = folder / f"{name}.part"
        part.write_text(json.dumps(message))
        part.rename(folder / name)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        del timeout  # it polls
        folder = Path(self.data_folder_in)
        for name in sorted(path.name for path in folder.iterdir()):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = folder / f"{name}.taken"
            try:
                (folder / name).rename(taken)
            except FileNotFoundError:  # another worker was quicker
                continue
            payload = json.loads(taken.read_text())
            taken.unlink()
            return payload
        raise Empty


class Transport(filesystem.Transport):
    """Kombu's filesystem transport with our channel."""

    Channel = Channel


def folder_broker(folder: Path) -> dict[str, Any]:
    """Make the folder and return the Celery settings that use it as the broker."""
    messages, control = folder / "messages", folder / "control"
    for each in (messages, control):
        each.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(messages)
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:{Transport.__qualname__}"
    return {
        "broker_url": f"{SCHEME}://localhost",
        "broker_transport_options": {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
            "polling_interval": 0.1,
        },
    }


def _remove_left_behind(messages: Path) -> None:
    """Remove what a process was writing or reading when it was killed; messages are only hints."""
    for path in messages.iterdir():
        if path.suffix in {".part", ".taken"}:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LEFT_BEHIND_S:
                    path.unlink()
