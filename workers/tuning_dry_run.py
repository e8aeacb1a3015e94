"""`python -m workers.tuning_dry_run`: what a run would take, as one line of JSON.

Reads what the run is about, JSON, from its standard input; works in a folder that is gone in the
end. Prints an `Estimate`, or `{"reason", "detail"}` where the run would fail.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from workers.dying import die_with_parent
from workers.priority import take_lowest_priority
from workers.tuning_events import Failed, read_estimate, read_event, to_line
from workers.tuning_files import choices_of
from workers.tuning_folder import PairLine, TuningPlan, write_pairs, write_plan

REPOSITORY = Path(__file__).parents[1]


def main() -> int:
    """Measure, print, and return the exit status."""
    die_with_parent()
    take_lowest_priority()
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="reelseek-estimate-") as folder:
        _write(Path(folder), asked)
        threads = asked["threads"]
        done = subprocess.run(  # noqa: S603 (our own module)
            [sys.executable, "-m", "workers.tuning_process", "--estimate", folder],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})},
            check=False,
        )
    return _answer(done.stdout) or done.returncode


def _write(folder: Path, asked: dict[str, Any]) -> None:
    plan = TuningPlan(
        base=Path(asked["base"]),
        base_digest=asked["base_digest"],
        name="estimate",
        choices=choices_of(asked["choices"]),
        device=asked["device"],
    )
    write_plan(folder, plan)
    write_pairs(
        folder, [PairLine(**{**line, "path": Path(line["path"])}) for line in asked["pairs"]]
    )


def _answer(printed: str) -> int:
    """Pass on what the process said; return 1 if that was nothing."""
    for line in reversed(printed.splitlines()):
        event = read_event(line)
        if isinstance(event, Failed):
            sys.stdout.write(json.dumps({"reason": event.reason, "detail": event.detail}) + "\n")
            return 0
        try:
            sys.stdout.write(to_line(read_estimate(line)) + "\n")
        except ValueError:
            continue
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
