"""The filter of system calls, run by a small interpreter of classic BPF for both machines."""

import errno
import mmap
import struct

import pytest

from model.video import seccomp
from model.video.seccomp import ALLOW, ERRNO, INSTRUCTION, KILL
from model.video.syscalls import MACHINES, NUMBERS

PID = 4711
OTHER_ARCH = 0x40000003  # i386, by int 0x80
PTHREAD_FLAGS = 0x3D0F00
FORK_FLAGS = 0x1200011
POSIX_SPAWN_FLAGS = 0x4100 | 17
NEGATIVE = -100 & 0xFFFFFFFFFFFFFFFF


def verdict(machine, name, arguments=(), *, may_open=False, arch=None, add=0):
    """Return what the filter of a machine says to a call."""
    number = NUMBERS[name][machine.column]
    padded = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack(
        "<IIQ6Q",
        number + add,
        machine.audit_arch if arch is None else arch,
        0,
        *(a & 0xFFFFFFFFFFFFFFFF for a in padded),
    )
    code = seccomp.program(machine, seccomp.rules(pid=PID, may_open=may_open))
    steps = list(INSTRUCTION.iter_unpack(code))
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = steps[at]
        at += 1
        if operation == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == seccomp.AND:
            accumulator &= value
        elif operation == seccomp.JUMP_EQUAL:
            at += if_true if accumulator == value else if_false
        elif operation == seccomp.JUMP_FROM:
            at += if_true if accumulator >= value else if_false
        else:
            assert operation == seccomp.RETURN
            return value


@pytest.fixture(params=sorted(MACHINES))
def machine(request):
    return MACHINES[request.param]


def test_every_named_call_has_one_verdict(machine):
    known = [name for name, numbers in NUMBERS.items() if numbers[machine.column] is not None]
    fatal = {name for name in seccomp.FATAL if name in known}

    assert {name for name in known if verdict(machine, name) == KILL} == fatal | {"clone", "tgkill"}
    for name in seccomp.FREE:
        if name in known:
            assert verdict(machine, name, [NEGATIVE] * 6) == ALLOW


def test_a_call_without_a_name_does_not_exist(machine):
    unnamed = 600 - NUMBERS["read"][machine.column]
    assert verdict(machine, "read", add=unnamed) == ERRNO | errno.ENOSYS


def test_the_doors_of_other_interfaces_are_shut(machine):
    assert verdict(machine, "read", arch=OTHER_ARCH) == KILL
    if machine.foreign_from:
        assert verdict(machine, "read", add=machine.foreign_from) == KILL


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", [PTHREAD_FLAGS], ALLOW),
        ("clone", [FORK_FLAGS], KILL),
        ("clone", [POSIX_SPAWN_FLAGS], KILL),
        ("clone", [PTHREAD_FLAGS | 0x10000000], KILL),
        ("mmap", [0, 4096, mmap.PROT_READ | mmap.PROT_WRITE], ALLOW),
        ("mmap", [0, 4096, mmap.PROT_READ | mmap.PROT_EXEC], ERRNO | errno.EACCES),
        ("mprotect", [0, 4096, mmap.PROT_EXEC], ERRNO | errno.EACCES),
        ("write", [1], ALLOW),
        ("write", [2], ALLOW),
        ("write", [3], ERRNO | errno.EPERM),
        ("writev", [0], ERRNO | errno.EPERM),
        ("tgkill", [PID, PID, 6], ALLOW),
        ("tgkill", [1, 1, 9], KILL),
        ("prlimit64", [0, 3, 0, 0x7FFF00000000], ALLOW),
        ("prlimit64", [0, 3, 0x7FFF00000000, 0], ERRNO | errno.EPERM),
        ("prlimit64", [0, 3, 0x10, 0], ERRNO | errno.EPERM),
        ("prctl", [15], ALLOW),
        ("prctl", [4, 1], ERRNO | errno.EPERM),
        ("fcntl", [3, 1030], ALLOW),
        ("fcntl", [1, 4, 2048], ERRNO | errno.EPERM),
        ("newfstatat", [3, 1, 1, 0x1000], ALLOW),
        ("newfstatat", [NEGATIVE, 1, 1, 0], ERRNO | errno.EACCES),
        ("openat", [NEGATIVE, 1, 0], ERRNO | errno.EACCES),
    ],
)
def test_arguments_decide(machine, name, arguments, expected):
    assert verdict(machine, name, arguments) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0, ALLOW),
        (0o2000000, ALLOW),
        (1, ERRNO | errno.EACCES),
        (2, ERRNO | errno.EACCES),
        (0o100, ERRNO | errno.EACCES),
        (0o1000, ERRNO | errno.EACCES),
        (0o20200000, ERRNO | errno.EACCES),
    ],
)
def test_where_files_may_be_opened_they_may_be_read_only(machine, flags, expected):
    assert verdict(machine, "openat", [NEGATIVE, 1, flags], may_open=True) == expected


def test_the_program_is_no_longer_than_the_kernel_takes(machine):
    code = seccomp.program(machine, seccomp.rules(pid=PID, may_open=True))
    assert len(code) // INSTRUCTION.size < 4096
