"""Take away from the decoding child whatever decoding does not need. Runs inside the child.

First, before libraries load: no network, no folder, bounds on what may be used. Then, when all
code is loaded and before the video is opened, `lock`: nothing can be opened, started, reached or
written any more but standard output and error. Each layer holds without the others; a kernel
that lacks one is told by `model.video.sandbox.capabilities`.
"""

import ctypes
import os
import resource
import signal
import struct
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from model.video import landlock, seccomp

VIDEO_FD = 3
STATUS_FD = 4
"""`/proc/self/status`, opened in time: it says how much memory was used."""
SPARE_FDS = 1
"""FFmpeg duplicates the descriptor that it is given."""
MAX_TASKS = 64
"""Threads of the child, where they can be counted apart from those of others."""
MAX_STACK_BYTES = 8 * 1024 * 1024
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h
CAPABILITIES_HEADER = struct.pack("Ii", 0x20080522, 0)  # version 3, this thread
NO_CAPABILITIES = bytes(24)
PARENT_GONE = 3


@dataclass(frozen=True)
class Locked:
    """Which layers hold.

    Attributes:
        landlock_abi: version of Landlock, 0 for none.
        has_filter: system calls are filtered.
        has_no_rights: all capabilities are given up.
    """

    landlock_abi: int
    has_filter: bool
    has_no_rights: bool


def leave_folder() -> None:
    """Work in a folder that is already removed: nothing can be made or found in it."""
    folder = Path(tempfile.mkdtemp(prefix="reelseek-"))
    os.chdir(folder)
    folder.rmdir()


def leave_network() -> bool:
    """Move into an empty network namespace; False where the kernel does not permit it."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(CLONE_NEWNET) == 0:
        return True
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    limit_tasks()
    return True


def limit_tasks() -> None:
    """Bound the number of threads; only in a user namespace are those of others not counted."""
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    most = MAX_TASKS if before[1] == resource.RLIM_INFINITY else min(MAX_TASKS, before[1])
    resource.setrlimit(resource.RLIMIT_NPROC, (most, before[1]))
    try:
        threading.Thread(target=int).start()
    except RuntimeError:  # before Linux 5.14 all processes of the user are counted
        resource.setrlimit(resource.RLIMIT_NPROC, before)


def limit_resources(*, cpu_s: float, memory_bytes: int) -> None:
    """Bound CPU time, memory and stack; forbid core dumps, writing to files, locked memory."""
    cpu = max(1, round(cpu_s))
    limits = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_STACK: (MAX_STACK_BYTES, MAX_STACK_BYTES),
    }
    for kind, (soft, hard) in limits.items():
        allowed = resource.getrlimit(kind)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)  # noqa: PLW2901 (never raise one)
        resource.setrlimit(kind, (soft, hard))


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def watch_parent() -> None:
    """End this process as soon as nobody holds the other end of its standard input.

    A decoder that is stopped or stuck does not read: for that there is `end_with_parent`.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(PARENT_GONE)

    threading.Thread(target=watch, daemon=True).start()


def open_status() -> None:
    """Open what `peak_memory_bytes` reads, where there is a /proc."""
    try:
        descriptor = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return
    if descriptor != STATUS_FD:
        os.dup2(descriptor, STATUS_FD)
        os.close(descriptor)


def peak_memory_bytes() -> int:
    """Return the largest resident size of this process so far, 0 if it can't be known.

    What the kernel tells the parent (ru_maxrss) counts what the parent held at the start.
    """
    try:
        status = os.pread(STATUS_FD, 8192, 0)
    except OSError:
        return 0
    _, _, after = status.partition(b"VmHWM:")
    words = after.split(maxsplit=1)
    return int(words[0]) * 1024 if words and words[0].isdigit() else 0


def drop_rights() -> bool:
    """Give up all capabilities: a root that has none may do no more than another user."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    return bool(libc.capset(CAPABILITIES_HEADER, NO_CAPABILITIES) == 0)


def lock(*, reopens_video: bool) -> Locked:
    """Close everything; call it when all code is loaded, before a second thread starts.

    Args:
        reopens_video: decord opens the video by its name, which takes a descriptor more.
    """
    abi = landlock.restrict(readable=VIDEO_FD if reopens_video else None)
    most = STATUS_FD + 1 + SPARE_FDS + reopens_video
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    has_no_rights = drop_rights()
    has_filter = seccomp.install(may_open=reopens_video)
    return Locked(abi, has_filter, has_no_rights)
