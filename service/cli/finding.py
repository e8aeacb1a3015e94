"""What a check of `doctor` found."""

import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum

TRIAL_S = 120
"""How long something that is tried in a process of its own may take."""


class Outcome(StrEnum):
    """How a check ended."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at.
        outcome: how it stands.
        finding: what was seen.
        mend: what to do about it, if it is not good.
    """

    name: str
    outcome: Outcome
    finding: str
    mend: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return it for `--json`."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "finding": self.finding,
            "mend": self.mend,
        }


def good(name: str, finding: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, Outcome.GOOD, finding)


def bad(name: str, finding: str, mend: str) -> Check:
    """Return a check that found what must be mended."""
    return Check(name, Outcome.BAD, finding, mend)


def note(name: str, finding: str, mend: str | None = None) -> Check:
    """Return a check that found something to know, but nothing wrong."""
    return Check(name, Outcome.NOTE, finding, mend)


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Try something in a process of its own: a broken library may take its process down."""
    return subprocess.run(  # noqa: S603 (our own interpreter and scripts)
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=TRIAL_S,
        check=False,
    )


def first_line(text: str) -> str:
    """Return what is wrong, without the advice or the trace that drivers put below it."""
    lines = text.strip().splitlines()
    return lines[0] if lines else "no message"


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
