"""The high-water mark: never lower within an epoch, kept over a restart, whole on disk."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError, DecisionUnavailable
from gateway.facts import LedgerMeta
from gateway.pdp.high_water import HighWaterMark, Mark
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path


def see(mark: HighWaterMark, epoch: str, revision: int) -> None:
    mark.admit(epoch, revision, since=mark.value)


def only_file(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


async def test_a_lower_revision_of_the_same_epoch_is_refused_and_an_equal_one_is_not(tmp_path: Path):
    mark = HighWaterMark(tmp_path / "mark.json")
    see(mark, "e1", 42)
    see(mark, "e1", 42)
    with pytest.raises(DecisionUnavailable, match="r41, older than r42"):
        see(mark, "e1", 41)
    assert mark.value == Mark("e1", 42)
    await mark.close()


async def test_the_mark_outlives_a_restart(tmp_path: Path):
    path = tmp_path / "mark.json"
    mark = HighWaterMark(path)
    for revision in (1, 7, 5_000):
        see(mark, "e1", revision)
    await mark.close()
    again = HighWaterMark(path)
    with pytest.raises(DecisionUnavailable):
        see(again, "e1", 4_999)
    assert only_file(tmp_path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_mark_is_written_without_anyone_closing_it(tmp_path: Path):
    path = tmp_path / "mark.json"
    mark = HighWaterMark(path)
    for revision in range(1, 30):
        see(mark, "e1", revision)
        await until(path.exists)
    await until(lambda: json.loads(path.read_text()) == {"epoch": "e1", "revision": 29, "past": []})
    await mark.close()


async def test_an_answer_that_crossed_the_first_one_of_a_newer_revision_is_still_good(tmp_path: Path):
    mark = HighWaterMark(tmp_path / "mark.json")
    see(mark, "e1", 42)
    sent = mark.value
    see(mark, "e1", 43)
    mark.admit("e1", 42, since=sent)
    assert mark.value == Mark("e1", 43)
    with pytest.raises(DecisionUnavailable):
        see(mark, "e1", 42)
    await mark.close()


async def test_a_new_epoch_starts_a_mark_of_its_own(tmp_path: Path):
    mark = HighWaterMark(tmp_path / "mark.json")
    see(mark, "e1", 42)
    see(mark, "e2", 3)
    assert mark.value == Mark("e2", 3)
    with pytest.raises(DecisionUnavailable):
        see(mark, "e2", 2)
    await mark.close()
    assert HighWaterMark(tmp_path / "mark.json").value == Mark("e2", 3)


@pytest.mark.parametrize(
    ("epoch", "revision", "restored"), [("e1", 41, True), ("e1", 42, False), ("e1", 43, False), ("e2", 1, False)]
)
async def test_a_ledger_behind_what_it_once_said_is_a_restored_one(
    tmp_path: Path, epoch: str, revision: int, restored: bool
):
    mark = HighWaterMark(tmp_path / "mark.json")
    assert not mark.restored(LedgerMeta(epoch, revision, None), since=mark.value)
    see(mark, "e1", 42)
    await mark.close()
    again = HighWaterMark(tmp_path / "mark.json")
    assert again.restored(LedgerMeta(epoch, revision, None), since=again.value) is restored


async def test_a_ledger_that_is_back_in_an_epoch_it_had_left_is_a_restored_one(tmp_path: Path):
    mark = HighWaterMark(tmp_path / "mark.json")
    for epoch, revision in (("e1", 42), ("e2", 43), ("e3", 44)):
        see(mark, epoch, revision)
    await mark.close()
    again = HighWaterMark(tmp_path / "mark.json")
    back = [again.restored(LedgerMeta(epoch, 99, None), since=again.value) for epoch in ("e1", "e2", "e3", "e4")]
    assert back == [True, True, False, False]


async def test_an_answer_of_the_ledger_that_crossed_a_newer_decision_makes_it_no_restored_one(tmp_path: Path):
    mark = HighWaterMark(tmp_path / "mark.json")
    see(mark, "e1", 42)
    asked = mark.value
    see(mark, "e1", 43)
    assert not mark.restored(LedgerMeta("e1", 42, None), since=asked)
    await mark.close()


@pytest.mark.parametrize("content", ["", "{}", "null", '{"epoch": "e1", "revision": "42"}', '{"epoch": "e1"'])
def test_a_damaged_mark_stops_the_start_instead_of_counting_as_none(tmp_path: Path, content: str):
    path = tmp_path / "mark.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"mark\.json: the high-water mark cannot be read"):
        HighWaterMark(path)


async def test_a_disk_that_takes_no_mark_lowers_none(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    mark = HighWaterMark(tmp_path / "missing" / "mark.json")
    see(mark, "e1", 42)
    await mark.close()
    assert "the high-water mark cannot be written" in caplog.text
    with pytest.raises(DecisionUnavailable):
        see(mark, "e1", 41)
    (tmp_path / "missing").mkdir()
    see(mark, "e1", 43)
    await mark.close()
    assert HighWaterMark(tmp_path / "missing" / "mark.json").value == Mark("e1", 43)


async def test_who_only_looks_is_held_to_the_mark_and_writes_none(tmp_path: Path):
    path = tmp_path / "mark.json"
    mark = HighWaterMark(path)
    see(mark, "e1", 42)
    await mark.close()
    looking = HighWaterMark(path, keep=False)
    see(looking, "e1", 43)
    with pytest.raises(DecisionUnavailable):
        see(looking, "e1", 42)
    await looking.close()
    assert HighWaterMark(path).value == Mark("e1", 42)


@given(st.lists(st.integers(min_value=1, max_value=20), max_size=30))
async def test_what_is_admitted_never_falls(tmp_path_factory: pytest.TempPathFactory, revisions: list[int]):
    mark = HighWaterMark(tmp_path_factory.mktemp("mark") / "mark.json")
    admitted = []
    for revision in revisions:
        try:
            see(mark, "e1", revision)
        except DecisionUnavailable:
            continue
        admitted.append(revision)
    await mark.close()
    assert admitted == sorted(admitted)
    assert not revisions or max(admitted) == max(revisions)
