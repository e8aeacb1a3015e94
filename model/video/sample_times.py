"""Choose the moments of a segment that become the frames of its clip."""

from itertools import pairwise


def sample_times(start_s: float, end_s: float, count: int) -> list[float]:
    """Choose `count` moments that cover a segment evenly.

    The segment is cut into equal bins and each bin is sampled at its centre (the
    sparse sampling of TSN, arXiv:1608.00859, without its random offsets), so a
    longer segment is sampled more sparsely, never cut short.

    Args:
        start_s: first moment of the segment, seconds from the start of the video.
        end_s: end of the segment, seconds, exclusive.
        count: how many moments; the T of the clip.

    Returns:
        `count` non-decreasing times in seconds, all inside [start_s, end_s); equal only
        where the segment is empty (a video of a single frame).

    Raises:
        ValueError: the segment ends before it starts, or `count` is not positive.
    """
    if end_s < start_s:
        raise ValueError(f"segment ends at {end_s} s before it starts at {start_s} s")
    if count < 1:
        raise ValueError(f"cannot sample {count} frames")
    bin_s = (end_s - start_s) / count
    return [start_s + (i + 0.5) * bin_s for i in range(count)]


def sample_indices(num_frames: int, count: int) -> list[int]:
    """Choose frames by number, as the published All-in-One evaluation does.

    Only for comparing with published figures: numbers say nothing of time where the frame rate
    varies, so videos of our own are sampled by `sample_times`.

    Args:
        num_frames: frames of the video.
        count: how many to choose; the T of the clip.

    Returns:
        the middle frame of each of `count` intervals; fewer if the video has fewer frames.

    Raises:
        ValueError: there is no frame, or `count` is not positive.
    """
    if num_frames < 1 or count < 1:
        raise ValueError(f"cannot sample {count} of {num_frames} frames")
    chosen = min(num_frames, count)
    bounds = [i * num_frames // chosen for i in range(chosen + 1)]
    return [(low + high - 1) // 2 for low, high in pairwise(bounds)]
