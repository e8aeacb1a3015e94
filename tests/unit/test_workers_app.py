"""The Celery application: what its import does, and that every task has a function."""

import subprocess
import sys
from pathlib import Path

from service.jobs import Task

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
