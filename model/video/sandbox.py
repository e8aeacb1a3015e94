"""Take away from this process whatever decoding does not need. Runs before libraries load.

What remains is standard input, output and error, and the video on descriptor 3. The limit
on open files is set just above them, so that no other file, socket or device can be
opened, whatever a decoder is talked into.
"""

import ctypes
import os
import resource
import signal
import tempfile
import threading
from pathlib import Path

VIDEO_FD = 3
SPARE_FDS = 1
"""FFmpeg duplicates the descriptor that it is given."""
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38
PARENT_GONE = 3


def leave_network() -> None:
    """Move into an empty network namespace, where the kernel permits it."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(CLONE_NEWNET) != 0:
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)


def leave_folder() -> None:
    """Work in a folder that is already removed: nothing can be made or found in it."""
    folder = Path(tempfile.mkdtemp(prefix="reelseek-"))
    os.chdir(folder)
    folder.rmdir()


def limit_resources(*, cpu_s: float, memory_bytes: int) -> None:
    """Bound CPU time and memory; forbid core dumps and writing to files."""
    cpu = max(1, round(cpu_s))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forbid_opening(*, spare: int) -> None:
    """Allow `spare` descriptors more than those in use; call it when all code is loaded."""
    most = VIDEO_FD + 1 + spare
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def exit_with_parent() -> None:
    """End this process as soon as nobody holds the other end of its standard input.

    The kernel kills it as well when the thread that started it ends, which waits for it as long
    as it lives: that also ends a decoder that is stopped or stuck.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(PARENT_GONE)

    threading.Thread(target=watch, daemon=True).start()
