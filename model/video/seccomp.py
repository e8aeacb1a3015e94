"""The filter of system calls that the decoding child puts on itself (seccomp, classic BPF).

What decoding needs is allowed, by name and where it matters by argument. What no decoder ever
does, and an attack would, ends the process. Everything else answers that the kernel has no such
call, which libraries are made to live with: so a newer library that would like a newer call
goes on with an older one.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from model.video.syscalls import MACHINES, Machine, number_of

ALLOW = 0x7FFF0000  # linux/seccomp.h
KILL = 0x80000000
ERRNO = 0x00050000
SET_MODE_FILTER = 1
ALL_THREADS = 1
CLONE_VM, CLONE_SIGHAND, CLONE_THREAD = 0x100, 0x800, 0x10000  # linux/sched.h
CLONE_APART = 0x7E020080  # namespaces of any kind
THREAD_FLAGS = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD
AT_EMPTY_PATH = 0x1000  # linux/fcntl.h: the file that is open, not one by name
PR_SET_NAME = 15  # linux/prctl.h
INSTRUCTION = struct.Struct("HBBI")
LOAD, JUMP_EQUAL, JUMP_FROM, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
NUMBER_AT, ARCH_AT, ARGUMENTS_AT, ARGUMENT_BYTES = 0, 4, 16, 8
ANY_BIT = 0xFFFFFFFF
WRITES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000  # O_TMPFILE

FREE = (
    *("futex", "read", "pread64", "lseek", "fstat", "munmap", "brk", "mremap"),
    *("madvise", "rt_sigprocmask", "rt_sigreturn", "rt_sigaction", "sigaltstack", "dup", "close"),
    *("sched_getaffinity", "sched_yield", "set_robust_list", "rseq", "exit", "exit_group"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time"),
    *("getrandom", "getpid", "gettid", "getcpu", "getuid", "geteuid", "getgid", "getegid"),
    *("sysinfo", "getrlimit", "getrusage", "restart_syscall", "uname"),
)
FATAL = (
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_getfd"),
    *("pidfd_send_signal", "socket", "socketpair", "connect", "bind", "listen", "accept"),
    *("accept4", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg", "mount"),
    *("umount2", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "pivot_root", "chroot", "setns", "unshare", "bpf", "perf_event_open"),
    *("userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl"),
    *("add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load"),
    *("kexec_file_load", "open_by_handle_at", "name_to_handle_at", "reboot", "swapon"),
    *("swapoff", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid"),
    *("setgroups", "iopl", "ioperm", "seccomp"),
)
CLOSED = ("open", "openat", "openat2", "stat", "lstat", "statx", "access", "faccessat")
"""Libraries look for files now and then; they are told that they may not."""


@dataclass(frozen=True)
class Check:
    """A call is allowed only if an argument is one of some values.

    Attributes:
        argument: which one, from 0.
        values: what it may be, 32 bits.
        mask: bits that are looked at.
        is_high: look at the upper half of the argument.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = ANY_BIT
    is_high: bool = False


@dataclass(frozen=True)
class Rule:
    """What becomes of some calls.

    Attributes:
        names: the calls.
        checks: all must hold.
        action: if they do.
        otherwise: if one does not.
    """

    names: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    action: int = ALLOW
    otherwise: int = ERRNO | errno.EPERM


def rules(*, pid: int, may_open: bool) -> list[Rule]:
    """Return what the child may do.

    Args:
        pid: its own number: it may send signals to itself alone, as `abort` does.
        may_open: files may be opened for reading (which ones, Landlock decides).
    """
    to_output = Check(0, (1, 2))
    no_code = Check(2, (0,), mask=mmap.PROT_EXEC)
    harmless = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)
    only_thread = Check(0, (THREAD_FLAGS,), mask=THREAD_FLAGS | CLONE_APART)
    only_ask = (Check(2, (0,)), Check(2, (0,), is_high=True))
    closed = ERRNO | errno.EACCES
    reading = [Rule(("openat",), (Check(2, (0,), mask=WRITES),), otherwise=closed)]
    return [
        Rule(("futex", "read", "pread64")),  # the most frequent ones first
        Rule(("write", "writev"), (to_output,)),
        Rule(("mmap", "mprotect"), (no_code,), otherwise=closed),
        Rule(FREE),
        Rule(("newfstatat",), (Check(3, (AT_EMPTY_PATH,)),), otherwise=closed),
        Rule(("fcntl",), (Check(1, harmless),)),
        Rule(("clone",), (only_thread,), otherwise=KILL),
        Rule(("prlimit64",), only_ask),
        Rule(("tgkill",), (Check(0, (pid,)),), otherwise=KILL),
        Rule(("prctl",), (Check(0, (PR_SET_NAME,)),)),
        *(reading if may_open else []),
        Rule(CLOSED, action=closed),
        Rule(FATAL, action=KILL),
    ]


def program(machine: Machine, rules: Sequence[Rule]) -> bytes:
    """Return a filter as the kernel reads it: the first rule that names a call decides."""
    code = [
        INSTRUCTION.pack(LOAD, 0, 0, ARCH_AT),
        INSTRUCTION.pack(JUMP_EQUAL, 1, 0, machine.audit_arch),
        INSTRUCTION.pack(RETURN, 0, 0, KILL),
        INSTRUCTION.pack(LOAD, 0, 0, NUMBER_AT),
    ]
    if machine.foreign_from is not None:
        code += [
            INSTRUCTION.pack(JUMP_FROM, 0, 1, machine.foreign_from),
            INSTRUCTION.pack(RETURN, 0, 0, KILL),
        ]
    for rule in rules:
        verdict = decide(rule)
        for name in rule.names:
            number = number_of(name, machine)
            if number is not None:
                code += [INSTRUCTION.pack(JUMP_EQUAL, 0, len(verdict), number), *verdict]
    return b"".join([*code, INSTRUCTION.pack(RETURN, 0, 0, ERRNO | errno.ENOSYS)])


def decide(rule: Rule) -> list[bytes]:
    """Return the instructions that look at the arguments; the last one always returns."""
    code = []
    for check in rule.checks:
        at = ARGUMENTS_AT + ARGUMENT_BYTES * check.argument + 4 * check.is_high
        code += [INSTRUCTION.pack(LOAD, 0, 0, at), INSTRUCTION.pack(AND, 0, 0, check.mask)]
        for left, value in zip(range(len(check.values), 0, -1), check.values, strict=True):
            code.append(INSTRUCTION.pack(JUMP_EQUAL, left, 0, value))
        code.append(INSTRUCTION.pack(RETURN, 0, 0, rule.otherwise))
    return [*code, INSTRUCTION.pack(RETURN, 0, 0, rule.action)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def install(*, may_open: bool) -> bool:
    """Put the filter on all threads of this process, for good; False where it can't be.

    `PR_SET_NO_NEW_PRIVS` must be set.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None or ctypes.sizeof(ctypes.c_void_p) * 8 != 64:  # noqa: PLR2004 (bits)
        return False
    code = program(machine, rules(pid=os.getpid(), may_open=may_open))
    argument = _Program(len(code) // INSTRUCTION.size, code)
    call = number_of("seccomp", machine)
    libc = ctypes.CDLL(None)
    return bool(libc.syscall(call, SET_MODE_FILTER, ALL_THREADS, ctypes.byref(argument)) == 0)
