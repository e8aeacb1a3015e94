"""`python -m workers.tuning.launch N FOLDER`: N processes train together, started by `torchrun`.

Where memory does not suffice they end and leave word, and begin again with half as many clips at
a time. They are started anew for that: processes that `torchrun` restarts itself sometimes wait
for each other for ever.
"""

import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from model.tuning.run import TOO_LARGE
from workers.dying import die_with_parent
from workers.tuning.folder import RUN

PROCESS = ("-m", "workers.tuning.process")


def main(processes: str, folder: str) -> None:
    """Start the processes and stay until they end; with the worker that started this, all die."""
    die_with_parent()
    launch(int(processes), Path(folder), PROCESS)


def launch(processes: int, folder: Path, process: tuple[str, ...]) -> None:
    """Let processes train together until they end, whatever memory there is.

    Args:
        processes: how many.
        folder: of the run.
        process: what `torchrun` starts, without its argument.

    Raises:
        ChildFailedError: one of them failed for another reason.
    """
    note = folder / RUN / TOO_LARGE
    while True:
        before = _read(note)
        try:
            torchrun(
                ["--standalone", f"--nproc-per-node={processes}", *process, str(folder)],
            )
        except ChildFailedError:
            if _read(note) == before:
                raise
        else:
            return


def _read(note: Path) -> str | None:
    return note.read_text(encoding="utf-8") if note.exists() else None


if __name__ == "__main__":
    main(*sys.argv[1:])
