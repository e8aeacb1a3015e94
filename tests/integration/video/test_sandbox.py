"""What the decoding child can not do, tried from inside."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.factories_video import make_video

REPOSITORY = Path(__file__).parents[3]
INSIDE = """
import json, os, socket, sys
from model.video import sandbox

os.dup2(int(sys.argv[1]), sandbox.VIDEO_FD)
sandbox.leave_folder()
sandbox.leave_network()
sandbox.limit_resources(cpu_s=5, memory_bytes=2**30)
if os.environ["IS_CLOSED"] == "1":
    os.closerange(sandbox.VIDEO_FD + 1, 100)
    sandbox.forbid_opening(spare=0)

def attempt(action):
    try:
        action()
    except (OSError, MemoryError) as error:
        return type(error).__name__ + " " + os.strerror(getattr(error, "errno", None) or 0)
    return "done"

print(json.dumps({
    "read": attempt(lambda: open("/etc/passwd").close()),
    "connect": attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2)),
    "write here": attempt(lambda: open("left-behind", "w")),
    "memory": attempt(lambda: bytearray(2**31)),
}))
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


def attempt_inside(path, port, *, is_closed):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        done = subprocess.run(
            [sys.executable, "-c", INSIDE, str(descriptor), str(port)],
            pass_fds=[descriptor],
            cwd=REPOSITORY,
            env={"IS_CLOSED": "1" if is_closed else "0", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            check=True,
            timeout=60,
        )
    finally:
        os.close(descriptor)
    return json.loads(done.stdout)


def test_no_file_and_no_socket_can_be_opened(tmp_path):
    attempts = attempt_inside(make_video(tmp_path / "a.mp4"), 18099, is_closed=True)

    assert attempts["read"] == "OSError Too many open files"
    assert attempts["connect"] == "OSError Too many open files"
    assert attempts["write here"] == "OSError Too many open files"
    assert attempts["memory"].startswith("MemoryError")


def test_the_folder_is_gone_and_nothing_can_be_made_in_it(tmp_path):
    attempts = attempt_inside(make_video(tmp_path / "a.mp4"), 18099, is_closed=False)

    assert attempts["write here"] == "FileNotFoundError No such file or directory"
    assert attempts["connect"] != "done"


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
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.01)
