"""What is read of the suite's results, and what is made of them."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.conformance import names, npm
from tests.conformance.narrowed import expected, hidden, lists
from tests.conformance.report import report
from tests.conformance.stage import fixture
from tests.conformance.suite import Check, Found, Run, look, results, runs, scored
from tests.conformance.verdict import Compared, losses

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(r"\btest_[a-z0-9_]+|\btest://[a-z0-9{}/_-]+")
RUN = Run("required by 2025-11-25", "2025-11-25", ("--requirements", "2025-11-25"), passed=3, failed=1)


def found(*checks: tuple[str, str, str]) -> Found:
    """Return a result of checks given as scenario, id and status."""
    return Found(tuple(Check(*check, message=f"{check[1]} went wrong") for check in checks))


DIRECT = found(
    ("tools", "list", "SUCCESS"), ("tools", "name", "SUCCESS"), ("ping", "ping", "SUCCESS"), ("tasks", "get", "FAILURE")
)


def compared(through: Found, narrow: Found | None = None) -> Compared:
    return Compared(RUN, frozenset({"tools", "ping"}), DIRECT, through, narrow, hidden())


def test_the_checks_of_each_scenario_are_read_in_the_order_of_the_run(tmp_path: Path):
    for index, scenario in enumerate(("tools-list", "server-sse-polling", "caching")):
        folder = tmp_path / f"server-{scenario}-2026-11-25T09-5{index}-00-000Z"
        folder.mkdir()
        written = [{"id": "a", "status": "SUCCESS"}, {"id": "b", "status": "FAILURE", "errorMessage": "no"}]
        if scenario != "caching":
            (folder / "checks.json").write_text(json.dumps(written))
    read = results(tmp_path)
    assert [check.scenario for check in read] == ["tools-list"] * 2 + ["server-sse-polling"] * 2 + ["caching"]
    assert [check.status for check in read] == ["SUCCESS", "FAILURE"] * 2 + ["FAILURE"]
    assert read[1].message == "no"
    assert read[-1].message == "the scenario fell over"


def test_a_check_that_warns_or_skips_or_is_missing_after_it_passed_is_lost():
    after = found(("tools", "list", "WARNING"), ("tools", "name", "SKIPPED"))
    assert [(loss.check, loss.count) for loss in losses(DIRECT, after)] == [("list", 1), ("name", 1), ("ping", 1)]
    assert losses(DIRECT, DIRECT) == []


def test_of_several_checks_of_one_id_each_counts():
    before = found(*[("headers", "reject", "SUCCESS")] * 3)
    after = found(("headers", "reject", "SUCCESS"), ("headers", "reject", "FAILURE"))
    assert [(loss.count, loss.message) for loss in losses(before, after)] == [(2, "reject went wrong")]


def test_a_check_that_is_not_reached_is_lost_to_what_failed_before_it():
    after = found(("tools", "list", "FAILURE"), ("ping", "ping", "SUCCESS"))
    assert [loss.message for loss in losses(DIRECT, after)] == ["list went wrong", "not looked at: list went wrong"]


def test_a_run_in_which_nothing_is_lost_has_no_fault():
    assert compared(DIRECT).faults() == []
    assert compared(DIRECT).as_json()["gateway"] == {"passed": 3, "failed": 1}


def test_a_fixture_that_passes_less_than_is_recorded_is_a_fault():
    less = replace(compared(DIRECT), direct=found(("ping", "ping", "SUCCESS")), through=None)
    assert less.faults() == [
        "required by 2025-11-25: the fixture alone passes 1 and fails 0 checks, not (3, 1)",
    ]


def test_a_required_scenario_that_fails_or_is_not_there_is_a_fault():
    through = found(("tools", "list", "SUCCESS"), ("tools", "name", "FAILURE"), ("tasks", "get", "FAILURE"))
    faults = compared(through).faults()
    assert faults[0] == "required by 2025-11-25: 2 of 2 required scenarios fail through the gateway: ping, tools"
    assert faults[1] == "required by 2025-11-25: 2 checks are lost on the way"


def test_what_is_hidden_loses_its_checks_and_no_other():
    key = ("tools-call-image", "tools-call-image", "SUCCESS")
    through = Found((*DIRECT.checks, Check(*key)))
    assert compared(through, DIRECT).faults() == []
    assert compared(through, through).faults() == [
        "required by 2025-11-25: tools-call-image tools-call-image passes although it is hidden"
    ]
    without = Found(DIRECT.checks[1:])
    assert compared(through, without).faults() == [
        "required by 2025-11-25: tools list is lost to what is hidden",
    ]


def test_what_is_hidden_is_denied_by_the_list_of_its_kind():
    assert lists(hidden()) == {
        "tools": {"deny_list": ["test_image_content"]},
        "access": {
            "prompt": {"deny_list": ["test_prompt_with_image"]},
            "resource": {"deny_list": ["test://static-binary"]},
        },
    }


def test_the_report_tells_each_loss_once_a_revision():
    through = found(("tools", "list", "SUCCESS"), ("tools", "name", "FAILURE"), ("ping", "ping", "SUCCESS"))
    console = Console(file=io.StringIO(), width=160)
    for part in report([compared(through), compared(through)]):
        console.print(part, markup=False)
    text = console.file.getvalue()
    assert text.count("name: name went wrong") == 1
    assert "1 of 2" in text
    assert "3 / 1" in text
    assert "1 checks are lost on the way" in text


def test_there_is_a_run_of_everything_at_every_wire_version_and_of_both_required_sets():
    versions = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
    assert {run.arguments for run in runs()} == {
        *(("--suite", "all", "--spec-version", version) for version in versions),
        *(("--requirements", version) for version in versions[2:]),
    }


@pytest.mark.npm
def test_every_name_in_the_suite_is_accounted_for_and_every_exposed_one_is_the_suites():
    text = (npm.SUITE / "dist" / "index.js").read_text()
    assert set(NAME.findall(text)) <= names.every()
    # Any tool with the annotation will do; `{id}` is in no call.
    own = {"test_x_mcp_header"}
    exposed = set().union(*map(names.exposed, ("tools", "prompts", "resources", "templates")))
    assert {name for name in exposed if name not in text} == own


@pytest.mark.npm
def test_each_required_set_is_the_one_that_was_released():
    assert [len(scored(run)) for run in runs()] == [30, 37, 0, 0, 0, 0]


@pytest.mark.npm
@pytest.mark.parametrize("run", runs()[-2:], ids=lambda run: run.name)
async def test_a_fixture_without_the_hidden_names_loses_exactly_their_checks(run: Run, tmp_path: Path):
    gone = hidden()
    async with fixture(tmp_path / "whole") as url:
        whole = await look(url, run.arguments, tmp_path / "whole" / "results")
    async with fixture(tmp_path / "less", [one.name for one in gone]) as url:
        less = await look(url, run.arguments, tmp_path / "less" / "results")
    assert whole.passed - less.passed == expected(whole.passed, gone)
    assert whole.passed - less.passed
