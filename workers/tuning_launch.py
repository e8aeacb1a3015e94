"""`python -m workers.tuning_launch N FOLDER`: N processes train together, started by `torchrun`."""

import sys

from torch.distributed.run import main as torchrun

from workers.dying import die_with_parent

MOST_STARTS = 6
"""Where memory does not suffice, processes begin again with half as many clips at a time."""


def main(processes: str, folder: str) -> None:
    """Start the processes and stay until they end; with the worker that started this, all die."""
    die_with_parent()
    torchrun(
        [
            "--standalone",
            f"--nproc-per-node={processes}",
            f"--max-restarts={MOST_STARTS}",
            *("-m", "workers.tuning_process", folder),
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
