"""Logs of all processes: one form, events with fields, and no secrets in tracebacks."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, structlog
from service import log
log.configure(as_json={as_json})
log.configure(as_json={as_json})
def fail(api_key):
    raise ValueError("broken")
with structlog.contextvars.bound_contextvars(request_id="abc"):
    structlog.get_logger().info("job_closed", job_id=7)
    logging.getLogger("uvicorn.error").warning("from a library")
    logging.getLogger("httpx").info("noise")
    try:
        fail("s3cret" + "-key")
    except ValueError:
        structlog.get_logger().exception("request_failed")
"""


def run(*, as_json: bool) -> str:
    program = PROGRAM.format(as_json=as_json)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_json_logs_are_one_object_a_line():
    closed, library, failed = map(json.loads, run(as_json=True).splitlines())

    assert closed["event"] == "job_closed"
    assert (closed["job_id"], closed["level"], closed["request_id"]) == (7, "info", "abc")
    assert closed["timestamp"].endswith("Z")
    assert (library["event"], library["level"]) == ("from a library", "warning")
    assert failed["event"] == "request_failed"
    assert "ValueError: broken" in failed["exception"]


@pytest.mark.parametrize("as_json", [True, False])
def test_tracebacks_show_no_values(as_json):
    text = run(as_json=as_json)

    assert "ValueError: broken" in text
    assert "s3cret-key" not in text
    assert "noise" not in text
