"""Which tests run where."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_its_tests_are_left_out_and_none_is_skipped():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/unit/model/test_cuda.py", "tests/unit/test_markers.py"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "test_markers.py::" in done.stdout
    assert "test_cuda.py::" not in done.stdout
    assert "1/7 tests collected (6 deselected)" in done.stdout
