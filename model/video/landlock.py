"""Give up all files, TCP ports, and signals to others, where the kernel has Landlock.

Landlock (Linux 5.13 and newer) needs no rights. It holds whatever else fails: descriptors that
are open stay, and nothing new can be opened but what is named here.
"""

import ctypes
import os
import struct

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of the calls, the same on all machines."""
ASK_VERSION = 1
RULE_PATH_BENEATH = 1
READ_FILE = 1 << 2
FILES_SINCE = {1: 13, 2: 14, 3: 15, 5: 16}
"""Version -> how many kinds of access to files it knows, each one bit (linux/landlock.h)."""
NETWORK_SINCE, SCOPES_SINCE = 4, 6
ALL_PORTS = 0b11
ALL_SCOPES = 0b11
RULESET = struct.Struct("QQQ")
PATH_RULE = struct.Struct("=Qi")


def version() -> int:
    """Return which version of Landlock the kernel has, 0 for none."""
    return max(0, int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, ASK_VERSION)))


def ruleset(abi: int) -> bytes:
    """Return everything that a version can take away, as the kernel reads it."""
    files = max(count for since, count in FILES_SINCE.items() if since <= abi)
    ports = ALL_PORTS if abi >= NETWORK_SINCE else 0
    scopes = ALL_SCOPES if abi >= SCOPES_SINCE else 0
    fields = 1 + (abi >= NETWORK_SINCE) + (abi >= SCOPES_SINCE)
    return RULESET.pack((1 << files) - 1, ports, scopes)[: 8 * fields]


def restrict(*, readable: int | None) -> int:
    """Take it all away from this thread and those that it starts.

    `PR_SET_NO_NEW_PRIVS` must be set.

    Args:
        readable: descriptor of the one file that may be opened again for reading.

    Returns:
        The version that holds now, 0 if none does.
    """
    abi = version()
    if abi == 0:
        return 0
    libc, attributes = ctypes.CDLL(None), ruleset(abi)
    descriptor = int(libc.syscall(CREATE_RULESET, attributes, len(attributes), 0))
    if descriptor < 0:
        return 0
    try:
        if readable is not None:
            rule = PATH_RULE.pack(READ_FILE, readable)
            libc.syscall(ADD_RULE, descriptor, RULE_PATH_BENEATH, rule, 0)
        return abi if libc.syscall(RESTRICT_SELF, descriptor, 0) == 0 else 0
    finally:
        os.close(descriptor)
