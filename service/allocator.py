"""How a process of ours keeps the memory that it has given back."""

import ctypes

M_ARENA_MAX = -8
ARENAS = 2
"""glibc gives the threads of a process up to eight arenas a core, and what is free in one is lost
to the others: with the many threads of a server most of its memory was free and kept. Two are
enough, for the work of our threads is done outside of the allocator."""


def share_arenas() -> bool:
    """Let all threads of this process share few arenas; call it before there are many.

    Returns:
        Whether the C library knows arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_ARENA_MAX, ARENAS) == 1
