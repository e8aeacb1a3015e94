"""The lowest priority is that of one process, not of the shell or the API that started it."""

import subprocess
import sys
from pathlib import Path

import pytest

from workers.priority import AUTOGROUP, LOWEST

OUTER = """
import subprocess, sys
from pathlib import Path
INNER = "import os; from workers.priority import *; take_lowest_priority(); print(os.nice(0), " \\
    "AUTOGROUP.read_text().split()[-1])"
subprocess.run([sys.executable, "-c", INNER], check=True)
print(Path("/proc/self/autogroup").read_text().split()[-1], flush=True)
"""


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this system has no autogroups")
def test_who_starts_a_process_of_the_lowest_priority_keeps_its_own():
    done = subprocess.run(
        [sys.executable, "-c", OUTER],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    inner, outer = done.stdout.splitlines()
    assert inner == f"{LOWEST} {LOWEST}"
    assert outer == "0"
