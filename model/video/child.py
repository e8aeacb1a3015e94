"""The process that opens untrusted videos: `python -m model.video.child FD`.

It reads one request, gives up its rights, answers, and ends. It needs numpy, PyAV and PIL
(decord when asked for), nothing else of this project but model.video.
"""

import json
import os
import sys
from typing import Any

from model.video import sandbox
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.messages import Kind, pack_json


def write(data: bytes) -> None:
    """Write all of it to the parent."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def run(request: dict[str, Any], limits: DecodeLimits) -> None:
    """Do what the parent asks."""
    from model.video import tasks  # noqa: PLC0415 (libraries load under the limits)

    tasks.load_lazy_code(request.get("reader", "pyav"))
    spare = sandbox.SPARE_FDS + (request.get("reader") == "decord")
    sandbox.forbid_opening(spare=spare)
    if request["task"] == "probe":
        write(tasks.probe(sandbox.VIDEO_FD, limits))
        return
    for message in tasks.read_clips(sandbox.VIDEO_FD, request, limits):
        write(message)


def main() -> None:
    """Answer one request."""
    video_fd = int(sys.argv[1])
    if video_fd != sandbox.VIDEO_FD:
        os.dup2(video_fd, sandbox.VIDEO_FD)
        os.close(video_fd)
    request = json.loads(sys.stdin.buffer.readline())
    limits = DecodeLimits(**request["limits"])
    sandbox.leave_folder()
    sandbox.leave_network()
    sandbox.limit_resources(cpu_s=limits.cpu_s, memory_bytes=limits.memory_bytes)
    sandbox.exit_with_parent()
    try:
        run(request, limits)
    except VideoError as refusal:
        write(pack_json(Kind.REFUSAL, {"reason": refusal.reason, "detail": refusal.detail}))
    except (MemoryError, BlockingIOError):  # no memory, or none for another thread
        detail = "Reading the video took more memory than allowed; re-encode it smaller."
        write(pack_json(Kind.REFUSAL, {"reason": "decode_memory_limit", "detail": detail}))
    sys.stderr.flush()
    os._exit(0)  # decoders may hang or crash while they are torn down


if __name__ == "__main__":
    main()
