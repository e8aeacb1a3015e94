"""What the decoding child can not do, tried from inside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from model.video.clips import ClipReader, ClipShape
from model.video.limits import DecodeLimits
from model.video.sandbox import Capabilities, capabilities
from model.video.segments import Span
from tests.factories_video import make_video
from tests.servers import is_gone

REPOSITORY = Path(__file__).parents[3]
INSIDE = """
import ctypes, fcntl, json, mmap, os, resource, socket, sys, threading
from model.video import confinement, landlock, seccomp

path, layers, code = sys.argv[2:5]
video_fd, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
os.dup2(video_fd, confinement.VIDEO_FD)
confinement.open_status()
confinement.leave_folder()
made_before = socket.socket() if layers == "landlock" else None
if layers != "landlock":
    confinement.leave_network()
    confinement.limit_resources(cpu_s=5, memory_bytes=2**30)
    os.closerange(confinement.STATUS_FD + 1, 100)
if layers in ("all", "decord"):
    confinement.lock(reopens_video=layers == "decord")
elif layers == "landlock":
    libc.prctl(confinement.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    landlock.restrict(readable=None)

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def attempt():
    try:
        exec(code)
    except (OSError, MemoryError, ValueError, RuntimeError) as error:
        return type(error).__name__
    return "done"

print(json.dumps(attempt()), flush=True)
os._exit(0)
"""
PARENT = """
import sys, time
from pathlib import Path
from model.video.clips import ClipReader, ClipShape
from model.video.limits import DecodeLimits
from model.video.segments import cut

shape = ClipShape(frames_per_clip=8, frame_size=256, resize_short=256, thumbnail_px=160)
reader = ClipReader(Path(sys.argv[1]), cut(8, length_s=0.2, every_s=0.2), shape=shape,
                    sampling="exact", reader="pyav", limits=DecodeLimits())
next(iter(reader))
print("reading", flush=True)
time.sleep(600)
"""
REFUSED = {
    "read a file": "open('/etc/passwd')",
    "read the secrets of the parent": "open(f'/proc/{os.getppid()}/environ')",
    "open the video again": "open(f'/proc/self/fd/{confinement.VIDEO_FD}')",
    "look for a file": "os.stat('/etc')",
    "list a folder": "os.listdir('/')",
    "make a file": "open('/tmp/reelseek-escaped', 'w')",
    "make a folder": "os.mkdir('/tmp/reelseek-escaped')",
    "remove a file": "os.unlink(path)",
    "rename a file": "os.rename(path, path + '-escaped')",
    "link to a file": "os.symlink(path, '/tmp/reelseek-escaped')",
    "change a mode": "os.chmod(path, 0o777)",
    "leave its folder": "os.chdir('/')",
    "write into the video": "os.write(confinement.VIDEO_FD, b'x')",
    "cut the video": "os.ftruncate(confinement.VIDEO_FD, 0)",
    "write to its standard input": "os.write(0, b'x')",
    "make a pipe": "os.pipe()",
    "replace a descriptor": "os.dup2(0, 9)",
    "take a third descriptor": "[os.dup(0) for _ in range(3)]",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))",
    "make memory executable": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "take too much memory": "bytearray(2**31)",
    "control a device": "fcntl.ioctl(0, 0x5401, bytes(64))",
    "make its writes non-blocking": "fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)",
    "change its priority": "os.nice(-5)",
    "open by a handle of the kernel": "os.memfd_create('x')",
    "become dumpable": "call(157 if os.uname().machine == 'x86_64' else 167, 4, 1, 0, 0, 0)",
}
FATAL = {
    "start a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "become another program": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "kill the parent": "os.kill(os.getppid(), 0)",
    "kill everything": "os.kill(-1, 0)",
    "open a socket": "socket.socket()",
    "open a local socket": "socket.socketpair()",
    "trace the parent": "libc.ptrace(16, os.getppid(), 0, 0)",
    "read the memory of the parent": "libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0)",
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "change its root": "libc.chroot(b'/')",
    "enter a namespace": "libc.setns(0, 0)",
    "make a namespace": "libc.unshare(0x10000000)",
    "become another user": "os.setuid(0)",
    "take another filter": "libc.syscall(317 if os.uname().machine == 'x86_64' else 277, 0, 0, 0)",
    "use io_uring": "libc.syscall(425, 8, 0)",
    "get a handle on a process": "libc.syscall(434, os.getppid(), 0)",
}
UNDER_LANDLOCK_ALONE = {
    "read a file": "open('/etc/passwd')",
    "make a file": "open('/tmp/reelseek-escaped', 'w')",
    "remove a file": "os.unlink(path)",
    "start a program": "os.execv('/bin/true', ['true'])",
    "connect": "made_before.connect(('127.0.0.1', 9))",
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("inside") / "a.mp4")


def attempt(video, code, *, layers="all"):
    """Return what came of running code inside, and how the process ended."""
    descriptor = os.open(video, os.O_RDONLY)
    try:
        done = subprocess.run(
            [sys.executable, "-c", INSIDE, str(descriptor), str(video), layers, code],
            pass_fds=[descriptor],
            stdin=subprocess.PIPE,
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY), "SECRET": "of the parent"},
            capture_output=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(descriptor)
    return json.loads(done.stdout) if done.stdout else None, done.returncode


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED)
def test_what_a_decoder_may_not_do_is_refused(video, code):
    outcome, status = attempt(video, code)

    assert outcome not in {"done", None}
    assert status == 0


@pytest.mark.parametrize("code", FATAL.values(), ids=FATAL)
def test_what_only_an_attack_does_ends_the_process(video, code):
    assert attempt(video, code) == (None, -signal.SIGSYS)


@pytest.mark.parametrize("code", UNDER_LANDLOCK_ALONE.values(), ids=UNDER_LANDLOCK_ALONE)
def test_without_the_filter_landlock_still_holds(video, code):
    assert attempt(video, code, layers="landlock") == ("PermissionError", 0)


def test_without_both_there_is_no_room_for_a_descriptor(video):
    most = "resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5)); "

    assert attempt(video, most + "open('/etc/passwd')", layers="none") == ("OSError", 0)
    assert attempt(video, most + "socket.socket()", layers="none") == ("OSError", 0)


def test_the_folder_is_gone_and_nothing_can_be_made_in_it(video):
    assert attempt(video, "open('left-behind', 'w')", layers="none") == ("FileNotFoundError", 0)


def test_what_decoding_needs_is_allowed(video):
    code = """
at = os.dup(confinement.VIDEO_FD)
assert os.pread(at, 8, 0)[4:] == b"ftyp"
os.close(at)
thread = threading.Thread(target=bytearray, args=(2**24,))
thread.start()
thread.join()
os.write(2, b"heard")
assert confinement.peak_memory_bytes() > 2**23
"""
    assert attempt(video, code) == ("done", 0)


def test_decord_may_open_the_video_again_and_nothing_else(video):
    again = "open(f'/proc/self/fd/{confinement.VIDEO_FD}', 'rb', buffering=0).read(8)"

    assert attempt(video, again, layers="decord") == ("done", 0)
    for code in ("open('/etc/passwd')", "open(sys.argv[2] + 'x', 'w')", "open(path, 'r+b')"):
        assert attempt(video, code, layers="decord") == ("PermissionError", 0)
    assert attempt(video, "os.fork()", layers="decord") == (None, -signal.SIGSYS)


def test_decord_does_read_inside_the_sandbox(video):
    shape = ClipShape(frames_per_clip=4, frame_size=64, resize_short=64, thumbnail_px=64)
    with ClipReader(
        video,
        [Span(0, 0, 2)],
        shape=shape,
        sampling="exact",
        reader="decord",
        limits=DecodeLimits(),
    ) as clips:
        assert len(list(clips)) == 1
    assert clips.report.problems == ()  # else PyAV read it


def test_this_machine_has_every_layer():
    found = capabilities()

    assert found.weaknesses == ()
    assert found.landlock_abi >= 1


def test_what_is_missing_is_said_with_what_to_do():
    bare = Capabilities(has_no_network=False, has_filter=False, landlock_abi=0, has_no_rights=False)

    assert len(bare.weaknesses) == 4
    assert all(sentence.endswith(".") and "; " in sentence for sentence in bare.weaknesses)


def test_the_memory_that_a_child_took_is_its_own(video):
    ballast = bytearray(os.urandom(1024) * 400_000)
    shape = ClipShape(frames_per_clip=1, frame_size=64, resize_short=64, thumbnail_px=64)
    with ClipReader(
        video,
        [Span(0, 0, 2)],
        shape=shape,
        sampling="exact",
        reader="pyav",
        limits=DecodeLimits(),
    ) as clips:
        list(clips)

    assert 0 < clips.peak_memory_bytes < len(ballast) / 2


def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    path = make_video(tmp_path / "long.mp4", seconds=8)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path)],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout.readline() == b"reading\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    deadline = time.monotonic() + 30
    while not is_gone(child.pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.01)
