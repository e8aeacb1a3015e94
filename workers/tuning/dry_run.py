"""`python -m workers.tuning.dry_run FOLDER`: what a run would take.

Reads what the run is about, JSON, from its standard input, writes it into the folder as a worker
would, and becomes the process that measures: that prints an `Estimate`, or `Failed`.
"""

import json
import os
import sys
from pathlib import Path

from workers.dying import die_with_parent
from workers.tuning.folder import PairLine, TuningPlan, write_pairs, write_plan
from workers.tuning.request import choices_of


def main(folder: str) -> None:
    """Write the folder and begin to measure."""
    die_with_parent()
    asked = json.load(sys.stdin)
    plan = TuningPlan(
        base=Path(asked["base"]),
        base_digest=asked["base_digest"],
        name="estimate",
        choices=choices_of(asked["choices"]),
        device=asked["device"],
    )
    write_plan(Path(folder), plan)
    lines = [PairLine(**{**line, "path": Path(line["path"])}) for line in asked["pairs"]]
    write_pairs(Path(folder), lines)
    command = [sys.executable, "-m", "workers.tuning.process", "--estimate", folder]
    os.execv(command[0], command)  # noqa: S606 (our own module)


if __name__ == "__main__":
    main(*sys.argv[1:])
