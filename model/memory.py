"""When memory does not suffice, and how much was used."""

import contextlib
import gc
import resource
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
REFUSALS = ("can't allocate memory", "Cannot allocate memory", "out of memory")
"""What torch's allocators say: that of the CPU raises a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory was refused, by the device or the system."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in REFUSALS)


def give_back(device: torch.device) -> None:
    """Return what nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def give_back_everything() -> None:
    """Return what nobody holds any more, of whatever devices were used."""
    give_back(torch.device("cuda" if torch.cuda.is_initialized() else "cpu"))


def begin_peak(device: torch.device) -> int:
    """Begin to measure, and return what the process uses already of system memory, bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return _most_resident()


def peak_since(device: torch.device, begun: int) -> int:
    """Return the most memory that was in use: of the device; on a CPU, more than at the beginning.

    Args:
        device: where the network runs.
        begun: what `begin_peak` returned.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return max(0, _most_resident() - begun)


def _most_resident() -> int:
    """Return the most that this program ever held, bytes.

    `getrusage` counts what the process held before it became this program (Linux keeps the figure
    over an exec): that of a large parent would hide everything.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
