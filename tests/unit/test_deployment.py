"""The files that deploy Reelseek name only what exists."""

import importlib.metadata
import importlib.util
import re
import shlex
import stat
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import typer
import yaml

from service.cli.app import app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETTINGS = {f"REELSEEK_{name.upper()}" for name in Settings.model_fields}
CLIENT_VARIABLES = {"REELSEEK_URL", "REELSEEK_API_KEY"}
BUILD_VARIABLES = {"REELSEEK_EXTRA", "REELSEEK_MORE"}
OURS = {name: one for name, one in COMPOSE["services"].items() if "build" in one}
VARIABLE = re.compile(r"REELSEEK_[A-Z_]+")


def commands_of_reelseek() -> set[str]:
    """Return the names that follow `reelseek` on a command line."""
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in DOCKERFILE if line.startswith(f"{name} ")]


def test_compose_runs_one_image_as_migration_api_and_workers():
    on_either = {"api", "ingest", "tune"}
    assert set(OURS) == {"migrate", "courier"} | on_either | {f"{name}-gpu" for name in on_either}
    assert len({one["image"] for one in OURS.values()}) == 1


@pytest.mark.parametrize("name", OURS)
def test_each_composed_command_exists(name):
    program, *arguments = OURS[name]["command"]

    assert program == "reelseek"
    assert importlib.metadata.entry_points(group="console_scripts", name=program)
    assert arguments[0] in commands_of_reelseek()


@pytest.mark.parametrize("name", OURS)
def test_each_composed_environment_makes_valid_settings(name, monkeypatch):
    environment = OURS[name]["environment"]
    assert set(environment) <= SETTINGS
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    settings = Settings()

    assert settings.sqlalchemy_url.startswith("postgresql+psycopg://")


def test_every_process_gets_the_settings_of_one_file():
    assert {one["env_file"] for one in OURS.values()} == {".env"}
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()  # it holds secrets


def test_composed_workers_tell_their_figures_to_their_network_alone():
    workers = {name: OURS[name] for name in ("ingest", "tune", "courier")}
    hosts = {one["environment"]["REELSEEK_METRICS_HOST"] for one in workers.values()}
    assert hosts == {"0.0.0.0"}  # noqa: S104 (inside a network of containers)
    assert all(one["environment"]["REELSEEK_METRICS_PORT"] for one in workers.values())
    assert not [name for name, one in workers.items() if "ports" in one]


def test_what_compose_services_depend_on_exists():
    for one in COMPOSE["services"].values():
        assert set(one.get("depends_on", {})) <= set(COMPOSE["services"])
        named = {volume.partition(":")[0] for volume in one.get("volumes", ())}
        assert named <= set(COMPOSE["volumes"])


def test_our_containers_run_without_privileges():
    for one in OURS.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
    assert instructions("USER") == ["reelseek"]


@pytest.mark.parametrize("name", ["api-gpu", "ingest-gpu", "tune-gpu"])
def test_what_runs_a_model_on_a_gpu_reserves_one(name):
    (device,) = OURS[name]["deploy"]["resources"]["reservations"]["devices"]

    assert device["capabilities"] == ["gpu"]
    assert "gpu" in PROJECT["optional-dependencies"]


def test_what_the_image_copies_exists_and_is_sent_to_the_builder():
    sent = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert all((ROOT / path).exists() for path in sent)
    for copied in instructions("COPY"):
        *sources, _target = (word for word in copied.split() if not word.startswith("--"))
        if "--from=environment" not in copied and sources != ["."]:
            assert set(sources) <= sent


def test_the_image_sets_only_variables_that_are_read():
    found = {name for line in instructions("ENV") for name in VARIABLE.findall(line)}

    assert found <= SETTINGS
    assert {"REELSEEK_HOST", "REELSEEK_DATA_DIR"} <= found


def test_the_image_starts_a_command_that_exists():
    (command,) = instructions("CMD")

    assert shlex.split(command.strip("[]").replace(",", " "))[1] in commands_of_reelseek()


def test_the_wheel_holds_all_that_the_image_needs():
    for package in ("model", "service", "workers"):
        assert (ROOT / package / "__init__.py").exists()
        assert Path(importlib.util.find_spec(package).origin) == ROOT / package / "__init__.py"


def test_every_required_package_is_pinned_once():
    pins = [
        re.fullmatch(r"([\w.-]+)==([\w.]+)", line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert all(pins), "constraints.txt holds names, versions and comments alone"
    names = [pin[1].lower().replace("_", "-") for pin in pins]
    assert len(names) == len(set(names))
    required = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    for requirement in required:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
        assert name == PROJECT["name"] or name in names, f"{name} is not pinned"


def test_ci_checks_everything_with_ci_set():
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & stat.S_IXUSR
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "export CI=true" in script.read_text()
    assert script.read_text().rstrip().endswith("make lint test")


def test_make_help_lists_the_targets_that_the_readme_names():
    listed = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), "help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    for target in ("run", "install", "test", "lint", "format", "bench", "checkpoint"):
        assert f"make {target} " in listed
