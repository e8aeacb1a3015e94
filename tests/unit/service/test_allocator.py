"""Threads share their memory: counted by the C library itself, in a process of its own."""

import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys, threading
from service.allocator import share_arenas

if sys.argv[2] == "shared":
    assert share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
start = threading.Barrier(12)

def allocate():
    start.wait()
    for _ in range(100):
        libc.malloc(1000)  # without the lock of Python: all threads at once
    start.wait()

threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = libc.fopen(sys.argv[1].encode(), b"w")
assert libc.malloc_info(0, file) == 0
libc.fclose(file)
"""


@pytest.mark.parametrize(("how", "most"), [("shared", 2), ("alone", 100)])
def test_threads_share_few_arenas(tmp_path, how, most):
    found = tmp_path / "arenas.xml"
    subprocess.run([sys.executable, "-c", COUNT, found, how], check=True)
    arenas = found.read_text().count("<heap nr=")
    assert 1 <= arenas <= most
    assert (arenas > 2) == (how == "alone")  # the check would see it
