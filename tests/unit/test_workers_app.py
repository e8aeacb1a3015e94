"""The Celery application: what its import does, and that every task has a function."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.jobs import Task
from service.tunings import estimating
from workers.tuning import child

REPOSITORY = Path(__file__).parents[2]

IMPORT = """
import sys
from workers.app import app
assert "torch" not in sys.modules, "torch must be imported after the last fork"
assert "fastapi" not in sys.modules
print(*sorted(name for name in app.tasks if not name.startswith("celery.")))
"""


def test_every_task_has_a_function_and_importing_them_needs_no_settings(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == sorted(Task)


@pytest.mark.parametrize("module", [child, estimating])
def test_processes_start_where_their_modules_are_found(module):
    assert (module.REPOSITORY / "workers" / "tuning" / "process.py").is_file()
