"""The dashboard and the alerts ask for what there is: each query is held to what a running gateway exposes."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.families import Families
from gateway.gauges import of_quotas
from gateway.metrics import Metrics
from gateway.quotas import Quotas
from tests.support import promtool
from tests.support.files import ROOT
from tests.support.promql import NotUnderstood, asked
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.conftest import World

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
ALERT_TESTS = ROOT / "deploy" / "prometheus" / "alerts_test.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "portcullis.json"
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text()
# Prometheus itself puts these on everything that it scrapes, and makes `up`.
OF_THE_SCRAPE = {"job", "instance"}
# What Grafana fills in; for Prometheus' own parser.
FILLED_IN = {"$__rate_interval": "5m", "$__range": "3h", "$job": "portcullis", "$instance": ".*", "$tenant": ".+"}


@cache
def rules() -> tuple[dict[str, Any], ...]:
    return tuple(rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"])


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Return every expression by where it stands."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in panels():
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def documented() -> dict[str, set[str]]:
    """Return the series of docs/metrics.md with their labels."""
    rows = re.findall(r"^\| `(portcullis_\w+)` \|([^|]*)\|", METRICS_PAGE, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


async def scrape(world: World) -> str:
    reply = await world.gateway.http("GET", "/metrics", X_API_Key=world.admin_key)
    assert reply.status == 200
    return reply.body.decode()


@pytest.fixture(scope="module")
async def exposed(world: World) -> dict[str, set[str]]:
    """Every sample's name with its labels, once things have been listed, called, refused and failed."""
    await world.gateway.tools(world.token("tenant:a"))
    await world.gateway.call("charge", token=world.token("tenant:a"))
    await world.gateway.call("refund", token=world.token("tenant:a"))
    await world.gateway.rpc("tools/list", token="no.such.token")

    async def lagged() -> str | None:
        text = await scrape(world)
        return text if "portcullis_event_loop_lag_seconds_bucket" in text else None

    text = await until(lagged)
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    for one in (*Families().every(), *of_quotas(Quotas())):
        # What has not happened in this run has no sample yet.
        if f"# TYPE {one.about.name} " in text:
            found.setdefault(one.about.name, set(one.about.labels))
    return found


@pytest.mark.parametrize("where", queries())
def test_a_query_asks_for_series_and_labels_that_a_running_gateway_exposes(
    where: str, exposed: Mapping[str, set[str]]
) -> None:
    found = asked(queries()[where])
    assert found.selected
    labels = set(OF_THE_SCRAPE)
    for name, matchers in found.selected:
        there = OF_THE_SCRAPE | (set() if name == "up" else exposed[name])
        assert matchers.keys() <= there, f"{name} has no such label"
        labels |= there
    assert found.grouped <= labels


@pytest.mark.parametrize("where", queries())
def test_what_a_query_compares_labels_with_is_something_that_there_can_be(where: str) -> None:
    words = {
        "type": set(re.findall(r"`(\w+)`", (ROOT / "docs" / "audit.md").read_text())),
        "reason": set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "reasons.md").read_text(), re.MULTILINE)),
        "outcome": {"success", "failure", "error", "tool_error", "upstream_failed", "failed", "refused", "cancelled"},
        "status": {"500"},
        "job": {"portcullis"},
    }
    for _, matchers in asked(queries()[where]).selected:
        for label, (_, value) in matchers.items():
            if value and not value.startswith("$"):
                assert set(value.split("|")) <= words[label]


def test_the_page_of_metrics_has_every_series_with_its_labels_and_no_other(exposed: Mapping[str, set[str]]) -> None:
    parts = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed if name.startswith("portcullis_")}
    assert documented().keys() == parts
    for name, labels in documented().items():
        assert labels == exposed.get(name, exposed.get(f"{name}_count"))


def test_the_reader_of_queries_refuses_what_it_does_not_know() -> None:
    for wrong in ("rate(a[5x])", "sum(a", "wish(a)", 'a{b="c}', "{a='b'}", "a{b=c}", "a ? b", "sum by le (a)", "a)"):
        with pytest.raises(NotUnderstood):
            asked(wrong)
    found = asked('sum by (le) (rate(a_bucket{x=~"1|2",y!=""}[5m])) / ignoring(z) b offset 2m > 0.5')
    assert found.selected == [("a_bucket", {"x": ("=~", "1|2"), "y": ("!=", "")}), ("b", {})]
    assert found.grouped == {"le", "z"}


def test_every_alert_has_its_part_of_the_page_with_what_it_means_and_is_tested_firing_and_silent() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    parts = dict(re.findall(r"^### (\w+)\n\*(\w+)\.\* ", page, re.MULTILINE))
    assert parts == {rule["alert"]: rule["labels"]["severity"].capitalize() for rule in rules()}
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
    tests = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    tested = {(one["alertname"], bool(one["exp_alerts"])) for test in tests for one in test["alert_rule_test"]}
    assert tested == {(rule["alert"], firing) for rule in rules() for firing in (True, False)}


def test_every_panel_says_what_it_shows_and_none_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"].endswith(".")
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    document = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    known = {one["name"] for one in document["templating"]["list"]} | {"__rate_interval", "__range"}
    assert set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) <= known


def prometheus(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool; the test is skipped where it was not built."""
    tool = promtool.binary()
    if tool is None:
        pytest.skip("promtool is not here (python -m tests.support.promtool builds it with go)")
    return subprocess.run([tool, *arguments], input=given, capture_output=True, text=True, check=False)


def test_prometheus_itself_takes_the_alerts_and_sees_each_fire_and_stay_silent() -> None:
    done = prometheus("test", "rules", ALERT_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    done = prometheus("check", "rules", "--lint-fatal", ALERTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_itself_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    for written, meant in FILLED_IN.items():
        expressions = [one.replace(written, meant) for one in expressions]
    recorded = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    done = prometheus("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_prometheus_itself_finds_nothing_to_complain_of_in_a_scrape(world: World) -> None:
    ours = [line for line in (await scrape(world)).splitlines(keepends=True) if "portcullis_" in line]
    done = prometheus("check", "metrics", given="".join(ours))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


async def test_names_are_the_same_before_anything_has_happened() -> None:
    text = (await Metrics(lambda _: True).exposition()).decode()
    assert {one.about.name for one in Families().every()} <= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
