"""The dashboard and the alarms ask for figures that exist, and each alarm is explained."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client import generate_latest

from service.api.metrics import Metrics
from service.observing.process_figures import add_process_figures
from service.observing.worker_metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "docs" / "grafana"
NAME = re.compile(r"\breelseek_\w+")
NEEDS_GPU = {"reelseek_gpu_memory_bytes", "reelseek_gpu_memory_of_process_bytes"}
SOURCES = ("service/observing/installation.py", "service/api/system.py")


def queries():
    panels = json.loads((GRAFANA / "reelseek.json").read_text())["panels"]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for rule in alarms():
        yield rule["alert"], rule["expr"]


def alarms():
    (group,) = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"]
    return group["rules"]


def figures():
    """Return the names of every figure that a process tells."""
    worker = WorkerMetrics()
    add_process_figures(worker.registry, kind="worker")
    text = (generate_latest(Metrics().registry) + generate_latest(worker.registry)).decode()
    told = re.findall(r"^# TYPE (\w+) (\w+)", text, re.MULTILINE)
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",)}
    names = {name + end for name, kind in told for end in suffixes.get(kind, ("",))}
    read = "".join((ROOT / source).read_text() for source in SOURCES)
    return names | set(re.findall(r"\b(reelseek_\w+)(?:=|\"\] =)", read)) | NEEDS_GPU


@pytest.mark.parametrize("query", [query for _, query in queries()])
def test_a_query_asks_for_figures_that_exist(query):
    asked = set(NAME.findall(query))
    assert asked
    assert asked <= figures()
    assert query.count("(") == query.count(")")


def test_every_figure_is_shown_or_raises_an_alarm():
    asked = {name for _, query in queries() for name in NAME.findall(query)}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    left_out = re.compile(r"_created$|_info$|_process_(virtual|start|max)")
    told = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in figures() if not left_out.search(name)
    }
    assert told - bases == set()


def test_panels_do_not_overlap():
    panels = json.loads((GRAFANA / "reelseek.json").read_text())["panels"]
    taken = set()
    for panel in panels:
        place = SimpleNamespace(**panel["gridPos"])
        cells = {
            (x, y)
            for x in range(place.x, place.x + place.w)
            for y in range(place.y, place.y + place.h)
        }
        assert place.x + place.w <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("rule", alarms(), ids=lambda rule: rule["alert"])
def test_an_alarm_is_explained_for_who_is_on_call(rule):
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert f"### {rule['alert']}" in (ROOT / "docs" / "operations.md").read_text()
