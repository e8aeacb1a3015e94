"""What the documentation names exists."""

import re
from pathlib import Path

import pytest
import typer

from service.cli.app import app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"(?:bin/|`|^)reelseek ([a-z]+)(?: ([a-z]+))?", re.MULTILINE)
VARIABLE = re.compile(r"REELSEEK_[A-Z0-9_]+[A-Z0-9]")
FINDING = re.compile(r'(?:Violation|_Rule|_of_pairs)\(\s*(?:session, )?"(\w+)"')
TARGET = re.compile(r"`make ([a-z]+)|^make ([a-z]+)", re.MULTILINE)
SETTINGS = {f"REELSEEK_{name.upper()}" for name in Settings.model_fields}
OTHER_VARIABLES = {"REELSEEK_URL", "REELSEEK_API_KEY", "REELSEEK_EXTRA", "REELSEEK_MORE"}


@pytest.fixture(params=PAGES, ids=lambda path: path.name)
def page(request) -> Path:
    return request.param


def test_links_to_files_lead_somewhere(page):
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]

    assert [link for link in targets if not (page.parent / link).exists()] == []


def test_commands_exist(page):
    root = typer.main.get_command(app)
    for name, sub_name in COMMAND.findall(page.read_text()):
        assert name in root.commands
        below = getattr(root.commands[name], "commands", None)
        assert not below or not sub_name or sub_name in below


def test_variables_are_read_by_something(page):
    of_tests = {
        name
        for path in (ROOT / "tests" / "faults").glob("*.py")
        for name in re.findall(r'environ.get\("(\w+)"', path.read_text())
    }
    assert set(VARIABLE.findall(page.read_text())) <= SETTINGS | OTHER_VARIABLES | of_tests


def test_operations_says_what_to_do_about_each_finding_of_an_audit():
    code = "".join(path.read_text() for path in (ROOT / "service").glob("c*/*audit*.py"))
    kinds = set(FINDING.findall(code))
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("### ReelseekAuditFailed")[2].partition("###")[0]

    assert {"missing_file", "stuck_video", "orphan_file", "unlisted_embedding"} <= kinds
    assert set(re.findall(r"`(\w+_\w+)`", section.replace("`REELSEEK_", "REELSEEK_"))) == kinds


def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for found in TARGET.findall(page.read_text()):
        assert re.search(rf"^{''.join(found)}:", makefile, re.MULTILINE)


def test_operations_describes_every_setting():
    described = set(VARIABLE.findall((ROOT / "docs" / "operations.md").read_text()))

    assert described >= SETTINGS
