"""The parent's side of the decoding child: start it, read it within limits, end it."""

import contextlib
import json
import os
import selectors
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import model.video
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.messages import HEADER, Kind, Message, max_payload, nonsense

MAX_STDERR_BYTES = 16 * 1024
READ_BYTES = 1024 * 1024
END_WAIT_S = 5.0
OUT_OF_MEMORY_SIGNALS = frozenset({signal.SIGKILL})
OUT_OF_TIME_SIGNALS = frozenset({signal.SIGXCPU})
REPOSITORY = Path(model.video.__path__[0]).parents[1]


class DecodeChild:
    """One child process that reads one video. A context manager; not thread safe.

    Args:
        path: the video; opened here, so that the child needs no path.
        request: what the child shall do, JSON.
        limits: how much it may use.
        clip_bytes: pixels of one clip, the size that CLIP messages must not exceed.

    Raises:
        VideoError: the file is empty or no regular file.
    """

    def __init__(
        self, path: Path, request: dict[str, Any], *, limits: DecodeLimits, clip_bytes: int = 0
    ) -> None:
        self.cpu_s = 0.0
        self.peak_memory_bytes = 0
        self._limits = limits
        self._clip_bytes = clip_bytes
        self._waited_s = 0.0
        self._received = bytearray()
        self._stderr = bytearray()
        self._was_killed = False
        self._exit_status: int | None = None
        video_fd = open_video(path)
        try:
            self._process = start_child(video_fd)
        finally:
            os.close(video_fd)
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            os.set_blocking(stream.fileno(), False)  # type: ignore[union-attr] # both are pipes
            self._selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        self._send(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def messages(self) -> Iterator[Message]:
        """Yield what the child says until it ends well.

        Raises:
            VideoError: the child refused the video, broke the rules, crashed, or used up
                its time or memory.
        """
        while (message := self._read_message()) is not None:
            if message.kind is Kind.USAGE:
                self.peak_memory_bytes = peak_memory_of(message, self._limits)
                continue
            if message.kind is Kind.REFUSAL:
                refusal = message.json()
                raise VideoError(str(refusal.get("reason"))[:64], str(refusal.get("detail"))[:1000])
            yield message
        self._reap(END_WAIT_S)
        if self._exit_status != 0:
            raise self._failure()

    def kill(self) -> None:
        """Kill the child, from any thread; who reads it gets a VideoError."""
        if self._exit_status is None:
            self._kill()

    def close(self) -> None:
        """Kill the child if it still runs, and give everything back. Safe to call twice."""
        if self._exit_status is None:
            self._kill()
            self._reap(None)
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr] # all three are pipes

    def _send(self, request: dict[str, Any]) -> None:
        stdin = self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it crashed: reading tells how
            stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            stdin.flush()  # type: ignore[union-attr]

    def _read_message(self) -> Message | None:
        header = self._read(HEADER.size)
        if header is None:
            return None
        number, length = HEADER.unpack(header)
        if number not in set(Kind) or length > max_payload(Kind(number), self._clip_bytes):
            self._kill()
            raise nonsense()
        payload = self._read(length)
        if payload is None:
            return None
        return Message(Kind(number), payload)

    def _read(self, length: int) -> bytes | None:
        """Return `length` bytes, or None if the child ended before."""
        while len(self._received) < length:
            if not self._wait_for_bytes():
                return None
        taken = bytes(memoryview(self._received)[:length])
        del self._received[:length]
        return taken

    def _wait_for_bytes(self) -> bool:
        """Read what the child wrote; False when its standard output is closed."""
        left_s = self._limits.wall_s - self._waited_s
        began = time.monotonic()
        ready = self._selector.select(max(0.0, left_s))
        self._waited_s += time.monotonic() - began
        if not ready:
            self._kill()
            raise VideoError(
                "decode_time_limit",
                f"Reading the video took longer than {self._limits.wall_s:g} s; "
                "re-encode it with a common codec, as H.264.",
                may_pass=True,
            )
        for key, _ in ready:
            chunk = os.read(key.fd, READ_BYTES)
            if key.fileobj is self._process.stdout:
                if not chunk:
                    return False
                self._received += chunk
            elif chunk:
                self._stderr += chunk[: MAX_STDERR_BYTES - len(self._stderr)]
            else:
                self._selector.unregister(key.fileobj)
        return True

    def _kill(self) -> None:
        self._was_killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self, patience_s: float | None) -> None:
        """Wait for the end and note what the child used; kill it when patience ends."""
        deadline = None if patience_s is None else time.monotonic() + patience_s
        while self._exit_status is None:
            options = 0 if deadline is None else os.WNOHANG
            pid, status, usage = os.wait4(self._process.pid, options)
            if pid:
                self._exit_status = os.waitstatus_to_exitcode(status)
                self._process.returncode = self._exit_status
                self.cpu_s = usage.ru_utime + usage.ru_stime
                self.peak_memory_bytes = self.peak_memory_bytes or usage.ru_maxrss * 1024
            elif deadline is not None and time.monotonic() > deadline:
                self._kill()
                deadline = None
            else:
                time.sleep(0.001)

    def _failure(self) -> VideoError:
        """Say why the child ended badly."""
        status = self._exit_status or 0
        ended_by = signal.Signals(-status) if status < 0 else None
        out_of_cpu = self.cpu_s >= self._limits.cpu_s
        if ended_by in OUT_OF_TIME_SIGNALS or (ended_by is signal.SIGKILL and out_of_cpu):
            return VideoError(
                "decode_time_limit",
                f"Reading the video took more than {self._limits.cpu_s:g} s of CPU time; "
                "re-encode it with a common codec, as H.264.",
                may_pass=True,  # others slow a processor down that they share
            )
        if ended_by in OUT_OF_MEMORY_SIGNALS and not self._was_killed:
            return VideoError(
                "decode_memory_limit",
                "Reading the video took more memory than there was; re-encode it smaller.",
                may_pass=True,  # it kept to its own limit: the system had no more for anybody
            )
        if ended_by is signal.SIGSYS:
            return VideoError(
                "sandbox_violation",
                "The decoder tried what reading a video never needs and was ended; "
                "the file may be an attack: do not open it with other programs.",
            )
        how = f"was ended by {ended_by.name}" if ended_by else f"failed with status {status}"
        error = VideoError(
            "decoder_crashed",
            f"The decoder {how}; the file is probably damaged, re-encode it and try again.",
        )
        error.add_note(self._stderr.decode(errors="replace"))
        return error


def peak_memory_of(message: Message, limits: DecodeLimits) -> int:
    """Return the largest resident size that the child says it had, bytes; 0 if it can't know.

    Raises:
        VideoError: it can't be true.
    """
    peak = message.json().get("peak_memory_bytes")
    if not isinstance(peak, int) or not 0 <= peak <= limits.memory_bytes:
        raise nonsense()
    return peak


def open_video(path: Path) -> int:
    """Open a file for the child.

    Raises:
        VideoError: it is empty, or no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size > 0:
        return descriptor
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise VideoError("empty_file", "The file is empty; upload it again.")
    raise VideoError("not_a_video", "This is no regular file; upload a video file.")


def start_child(video_fd: int) -> subprocess.Popen[bytes]:
    """Start the child in its own process group, with a bare environment."""
    environment = {
        "PATH": "/usr/bin:/bin",  # decord appends to it
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena takes 64 MiB of the address space
    }
    command = [sys.executable, "-P", "-s", "-m", "model.video.child", str(video_fd)]
    return subprocess.Popen(  # noqa: S603 (our own interpreter, our own module)
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(video_fd,),
        env=environment,
        start_new_session=True,
    )
