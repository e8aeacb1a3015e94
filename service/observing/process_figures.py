"""What every process tells of itself: memory, CPU, files, its GPU, its version."""

import sys
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Info, ProcessCollector

from service.observing.readings import Readings, Series, Watched


def add_process_figures(registry: CollectorRegistry, *, kind: str) -> None:
    """Have a registry tell what this process is and takes.

    Args:
        registry: of the process.
        kind: `api`, `worker`, `tuner` or `courier`.
    """
    ProcessCollector(namespace="reelseek", registry=registry)
    Info("reelseek_build", "What runs here.", registry=registry).info(
        {"version": version("reelseek"), "kind": kind}
    )
    registry.register(Watched(read_gpu))


def read_gpu() -> Readings:
    """Return the memory of the GPU in use; nothing where this process uses none.

    CUDA is only asked where it was begun already: asking would begin it, and takes memory.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return Readings()
    free, total = torch.cuda.mem_get_info()
    return Readings(
        reelseek_gpu_memory_bytes={"used": float(total - free), "free": float(free)},
        reelseek_gpu_memory_of_process_bytes=Series(
            "state",
            {
                "allocated": float(torch.cuda.memory_allocated()),
                "reserved": float(torch.cuda.memory_reserved()),
            },
        ),
    )
