"""The servers of configurations that decisions are still made by: none of another, and none for longer than needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.generations import MOST, Generations

OLD, NEW = {"s": "s at x", "gone": "gone"}, {"s": "s at y", "come": "come"}


def test_a_decision_meets_the_servers_of_the_configuration_that_it_was_made_by():
    generations = Generations("old", OLD)
    assert generations.put("new", NEW) == []
    assert [generations.find("old", name) for name in ("s", "gone", "come")] == ["s at x", "gone", None]
    assert [generations.find("new", name) for name in ("s", "gone", "come")] == ["s at y", None, "come"]
    assert generations.knows("old")
    assert generations.knows("new")
    assert list(generations.like("s")) == ["s at y", "s at x"]


def test_one_that_is_not_known_here_is_taken_for_the_newest():
    generations = Generations("old", OLD)
    generations.put("new", NEW)
    assert not generations.knows("next")
    assert generations.find("next", "s") == "s at y"


def test_a_configuration_is_forgotten_once_nothing_was_decided_by_it_from_one_look_to_the_next():
    generations = Generations("old", OLD)
    generations.put("new", NEW)
    assert generations.forget_unused() == []
    assert generations.find("old", "s") == "s at x"
    assert generations.forget_unused() == []
    assert sorted(generations.forget_unused()) == ["gone", "s at x"]
    assert not generations.knows("old")
    assert generations.forget_unused() == []


def test_what_comes_back_is_the_newest_again_and_its_servers_are_retired_by_nobody():
    generations = Generations("old", OLD)
    generations.put("new", NEW)
    assert generations.put("old", OLD) == []
    assert generations.newest is OLD
    generations.forget_unused()
    assert sorted(generations.forget_unused()) == ["come", "s at y"]
    assert generations.find("old", "gone") == "gone"


def test_the_same_configuration_with_other_servers_replaces_them():
    generations = Generations("", OLD)
    assert sorted(generations.put("", NEW)) == ["gone", "s at x"]


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_every_server_is_retired_exactly_once_or_still_here(steps):
    made: set[str] = {"0"}
    retired: list[str] = []
    generations = Generations("c", {"s": "0"})
    for number, (config, look) in enumerate(steps, 1):
        made.add(str(number))
        retired += generations.put(f"c{config}", {"s": str(number)})
        retired += generations.forget_unused() if look else []
        assert len(list(generations.every)) <= MOST + 1
    assert len(retired) == len(set(retired))
    assert set(retired) | set(generations.every) == made
