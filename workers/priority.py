"""Who goes first when the cores are all in use."""

import contextlib
import os
from pathlib import Path

LOWEST = 19
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux shares the cores between sessions first (sched_autogroup), and `nice` counts only within
one: a worker is a session of its own, so its group has to step back as well."""


def take_lowest_priority() -> None:
    """Let every other process go first, as far as the system allows.

    The process leads a session of its own from then on.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    with contextlib.suppress(OSError):
        os.setsid()  # refused where there is one of its own already
    if os.getsid(0) == os.getpid():  # else it would be that of whoever started this, a shell or API
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(LOWEST))
