"""How much one video may cost before it is refused."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What the child that opens a video may use, and what a video may claim.

    Attributes:
        cpu_s: CPU time of the child, all its threads together.
        wall_s: time that we wait for the child; the time it waits for us does not count.
        memory_bytes: address space of the child.
        max_pixels: largest frame, width x height.
        max_duration_s: longest video.
        max_frames: most frames (packets) that a video may have.
    """

    cpu_s: float = 3600.0
    wall_s: float = 3600.0
    memory_bytes: int = 1536 * MIB
    max_pixels: int = 7680 * 4320
    max_duration_s: float = 12 * 3600.0
    max_frames: int = 6_000_000
