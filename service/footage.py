"""The service's door to probing: is an uploaded file a video that we read?"""

import threading
from pathlib import Path

from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.probe import VideoFacts, probe
from model.video.sample_times import sample_times
from service.errors import RefusedMediaError, UnavailableError
from service.settings import Settings

PROBE_CPU_S = 15.0
PROBE_WALL_S = 30.0
MAX_PROBES = 4
PROBE_QUEUE_S = 30.0
RETRY_AFTER_S = 5

_probes = threading.BoundedSemaphore(MAX_PROBES)


def decode_limits(settings: Settings) -> DecodeLimits:
    """Return what reading one whole video may cost."""
    return DecodeLimits(
        cpu_s=settings.decode_limit_cpu_s,
        wall_s=settings.decode_limit_cpu_s,
        memory_bytes=settings.decode_limit_memory_bytes,
        max_pixels=settings.video_limit_pixels,
        max_duration_s=settings.video_limit_s,
    )


def probe_limits(settings: Settings) -> DecodeLimits:
    """Return what probing one video may cost."""
    return DecodeLimits(
        cpu_s=min(PROBE_CPU_S, settings.decode_limit_cpu_s),
        wall_s=PROBE_WALL_S,
        memory_bytes=settings.decode_limit_memory_bytes,
        max_pixels=settings.video_limit_pixels,
        max_duration_s=settings.video_limit_s,
    )


def frame_times(start_s: float, end_s: float, count: int) -> list[float]:
    """Return where the frames of a clip are sampled, seconds from the start of the video.

    Args:
        start_s: first moment of the segment.
        end_s: its end, exclusive.
        count: frames per clip T.
    """
    return sample_times(start_s, end_s, count)


def probe_upload(path: Path, settings: Settings) -> VideoFacts:
    """Probe an uploaded file in a sandboxed child.

    Raises:
        RefusedMediaError: it is no video that we read; `reason` says why.
        UnavailableError: too many files are probed already.
    """
    if not _probes.acquire(timeout=PROBE_QUEUE_S):
        raise UnavailableError(
            "Too many uploads are checked at once; try again.", retry_after_s=RETRY_AFTER_S
        )
    try:
        return probe(path, limits=probe_limits(settings))
    except VideoError as error:
        raise RefusedMediaError(error.detail, reason=error.reason) from error
    finally:
        _probes.release()
