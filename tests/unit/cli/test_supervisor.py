"""The supervisor: what it starts stays alive, and dies with it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import is_gone

WITHIN_S = 60.0
SUPERVISE = """
    import sys
    from service.cli.supervisor import Child, ChildGaveUpError, Supervisor

    folder, *scripts = sys.argv[1:]
    children = [
        Child(f"child {n}", [sys.executable, "-c", script, folder])
        for n, script in enumerate(scripts)
    ]
    import os
    supervisor = Supervisor(
        children,
        environment=dict(os.environ),
        report=lambda sentence: print(sentence, flush=True),
        stop_within_s=15.0,
    )
    try:
        supervisor.run(is_ready=lambda: True, on_ready=lambda: print("ready", flush=True))
    except ChildGaveUpError as error:
        sys.exit(f"gave up: {error}")
"""
STAY = """
    import os, pathlib, sys, time
    pathlib.Path(sys.argv[1], f"{time.time_ns()}.pid").write_text(str(os.getpid()))
    while True:
        time.sleep(1)
"""
STAY_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + textwrap.dedent(STAY)
LEAVE_SOMETHING = """
    import os, pathlib, subprocess, sys, time
    rest = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(sys.argv[1], f"{time.time_ns()}.pid").write_text(str(rest.pid))
    time.sleep(600)
"""
DIE = "raise SystemExit(3)"


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {WITHIN_S:.0f} s")
        time.sleep(0.02)


def pids_in(folder: Path) -> list[int]:
    """Return the processes that said they started, in order."""
    files = sorted(folder.glob("*.pid"))
    return [int(text) for file in files if (text := file.read_text())]


@pytest.fixture
def supervise(tmp_path):
    started = []

    def start(*scripts: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", textwrap.dedent(SUPERVISE), str(tmp_path)),
                *map(textwrap.dedent, scripts),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_child_that_was_killed_is_started_again(supervise, tmp_path):
    supervise(STAY)
    wait_until(lambda: len(pids_in(tmp_path)) == 1, "the start")

    os.kill(pids_in(tmp_path)[0], signal.SIGKILL)

    wait_until(lambda: len(pids_in(tmp_path)) == 2, "the second start")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_children_without_a_traceback(supervise, tmp_path, number):
    supervisor = supervise(STAY, STAY)
    wait_until(lambda: len(pids_in(tmp_path)) == 2, "the start")

    supervisor.send_signal(number)
    out, err = supervisor.communicate(timeout=WITHIN_S)

    assert supervisor.returncode == 0
    assert "Stopping" in out
    assert err == ""
    assert all(map(is_gone, pids_in(tmp_path)))


def test_a_second_signal_kills_a_child_that_does_not_listen(supervise, tmp_path):
    supervisor = supervise(STAY_DEAF)
    wait_until(lambda: len(pids_in(tmp_path)) == 1, "the start")
    assert supervisor.stdout.readline() == "ready\n"

    supervisor.send_signal(signal.SIGINT)
    assert "Stopping" in supervisor.stdout.readline()
    supervisor.send_signal(signal.SIGINT)
    supervisor.communicate(timeout=WITHIN_S)

    assert is_gone(pids_in(tmp_path)[0])


def test_children_die_with_a_supervisor_that_was_killed(supervise, tmp_path):
    supervisor = supervise(STAY_DEAF)
    wait_until(lambda: len(pids_in(tmp_path)) == 1, "the start")

    supervisor.kill()

    wait_until(lambda: is_gone(pids_in(tmp_path)[0]), "the child's death")


def test_what_a_child_started_is_stopped_with_it(supervise, tmp_path):
    supervisor = supervise(LEAVE_SOMETHING)
    wait_until(lambda: len(pids_in(tmp_path)) == 1, "the start")

    supervisor.send_signal(signal.SIGTERM)
    supervisor.communicate(timeout=WITHIN_S)

    wait_until(lambda: is_gone(pids_in(tmp_path)[0]), "the grandchild's death")


@pytest.mark.slow
def test_a_child_that_cannot_start_is_given_up_and_the_others_are_stopped(supervise, tmp_path):
    supervisor = supervise(STAY, DIE)

    _, err = supervisor.communicate(timeout=3 * WITHIN_S)

    assert "child 1 exited with 3 again and again" in err
    assert supervisor.returncode == 1
    assert all(map(is_gone, pids_in(tmp_path)))
