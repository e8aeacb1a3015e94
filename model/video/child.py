"""The process that opens untrusted videos: `python -m model.video.child FD`.

It reads one request, gives up its rights, answers, and ends. It needs numpy, PyAV and PIL
(decord when asked for), nothing else of this project but model.video.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from model.video import confinement
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.messages import Kind, pack_json


def write(data: bytes) -> None:
    """Write all of it to the parent."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def run(request: dict[str, Any], limits: DecodeLimits, *, has_no_network: bool) -> None:
    """Lock this process up, then do what the parent asks."""
    from model.video import tasks  # noqa: PLC0415 (libraries load under the limits)

    reader = request.get("reader", "pyav")
    tasks.load_lazy_code(reader)
    locked = confinement.lock(reopens_video=reader == "decord")
    confinement.watch_parent()
    if request["task"] == "sandbox":
        write(pack_json(Kind.FACTS, {"has_no_network": has_no_network, **asdict(locked)}))
        return
    answers: Iterator[bytes] = (
        iter([tasks.probe(confinement.VIDEO_FD, limits)])
        if request["task"] == "probe"
        else tasks.read_clips(confinement.VIDEO_FD, request, limits)
    )
    for message in answers:
        write(message)


def tell_usage() -> None:
    """Tell the parent how much memory this process took."""
    write(pack_json(Kind.USAGE, {"peak_memory_bytes": confinement.peak_memory_bytes()}))


def refuse(reason: str, detail: str) -> None:
    """Tell the parent why the video can't be used."""
    tell_usage()
    write(pack_json(Kind.REFUSAL, {"reason": reason, "detail": detail}))


def main() -> None:
    """Answer one request."""
    video_fd = int(sys.argv[1])
    if video_fd != confinement.VIDEO_FD:
        os.dup2(video_fd, confinement.VIDEO_FD)
        os.close(video_fd)
    request = json.loads(sys.stdin.buffer.readline())
    limits = DecodeLimits(**request["limits"])
    confinement.end_with_parent()
    confinement.open_status()
    confinement.leave_folder()
    has_no_network = confinement.leave_network()
    confinement.limit_resources(cpu_s=limits.cpu_s, memory_bytes=limits.memory_bytes)
    try:
        run(request, limits, has_no_network=has_no_network)
        tell_usage()
    except VideoError as refusal:
        refuse(refusal.reason, refusal.detail)
    except (MemoryError, BlockingIOError):  # no memory, or none for another thread
        detail = "Reading the video took more memory than allowed; re-encode it smaller."
        refuse("decode_memory_limit", detail)
    sys.stderr.flush()
    os._exit(0)  # decoders may hang or crash while they are torn down


if __name__ == "__main__":
    main()
