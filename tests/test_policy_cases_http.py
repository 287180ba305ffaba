"""The table of cases, asked of a real OPA over HTTP as the gateway asks it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.judge import Judge, bundled_judge, open_judge
from tests.support.worlds import CASES, NAMES, Case, cases, compiled, custom, manifests, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALL = cases()
PLAIN = [case for case in ALL if case.plain]
CHANGED = [case for case in ALL if not case.plain]


@pytest.fixture(scope="module")
def bundled() -> Iterator[Callable[[str], Judge]]:
    """An OPA for each world, fed by its four signed bundles."""
    running: dict[str, Judge] = {}
    with ExitStack() as stack:

        def of(world: str) -> Judge:
            if world not in running:
                running[world] = stack.enter_context(bundled_judge(snapshot(world), custom(world)))
            return running[world]

        yield of


@pytest.fixture(scope="module")
def fed() -> Iterator[Callable[[Case], Judge]]:
    """An OPA for each world, whose documents are put for each case."""
    running: dict[str, Judge] = {}
    with ExitStack() as stack:

        def of(case: Case) -> Judge:
            if case.world not in running:
                running[case.world] = stack.enter_context(open_judge(custom(case.world)))
            judge = running[case.world]
            judge.load(case.documents())
            return judge

        yield of


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.id)
def test_a_world_as_it_stands_is_judged_from_signed_bundles(bundled: Callable[[str], Judge], case: Case):
    assert bundled(case.world).ask(case.entrypoint, case.question()) == case.answer()


@pytest.mark.parametrize("case", CHANGED, ids=lambda case: case.id)
def test_a_changed_world_is_judged_by_what_changed(fed: Callable[[Case], Judge], case: Case):
    assert fed(case).ask(case.entrypoint, case.question()) == case.answer()


@pytest.mark.parametrize("world", NAMES)
def test_the_documents_of_a_world_are_what_sync_makes_of_its_files(world: str):
    assert compiled(world) == snapshot(world), "run: python -m tests.support.worlds"


def test_each_file_of_cases_has_one_key_that_the_rego_runner_reads():
    runner = (CASES / "runner_test.rego").read_text()
    keys = [list(yaml.safe_load(path.read_text())) for path in sorted(CASES.glob("*.yaml"))]

    assert all(len(each) == 1 for each in keys)
    assert all(f"data.{each[0]}," in runner for each in keys)


def test_most_cases_can_be_played_through_a_gateway():
    assert sum(case.playable for case in ALL) > len(ALL) / 2


def test_the_manifests_of_the_cases_are_those_that_bundles_have(bundled: Callable[[str], Judge]):
    found = bundled("custom").get("system/bundles")

    wanted = manifests(snapshot("custom")["packages"])["bundles"]
    assert found.keys() == wanted.keys()
    assert found["custom"]["manifest"]["metadata"] == wanted["custom"]["manifest"]["metadata"]
