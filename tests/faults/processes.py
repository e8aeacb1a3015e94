"""The processes of one installation, found by the data folder in their environment."""

import os
import signal
from pathlib import Path


def processes_of(data_dir: Path) -> dict[int, str]:
    """Return pid and command line of everything that runs on a data folder."""
    wanted = f"REELSEEK_DATA_DIR={data_dir}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended, or is not ours
            continue
        if wanted in environment and command:
            found[int(folder.name)] = command
    return found


def kill(pid: int) -> bool:
    """Kill a process as a power cut would; return whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
