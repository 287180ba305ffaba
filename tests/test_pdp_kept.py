"""What a restart must find is changed at once and written behind, and nobody waits for the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.errors import ConfigError
from gateway.pdp.kept import Kept

if TYPE_CHECKING:
    from pathlib import Path


class Seen(msgspec.Struct, frozen=True):
    """A value of several members."""

    epoch: str
    revisions: dict[str, int]


FIRST, SECOND = Seen("e1", {"live": 1}), Seen("e1", {"live": 2})


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_value_is_in_force_before_anything_is_on_disk(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "seen.json", Seen, "what was seen")
    assert kept.value is None
    kept.put(FIRST)
    assert (kept.value, names(tmp_path)) == (FIRST, [])
    await kept.close()
    assert Kept(tmp_path / "seen.json", Seen, "what was seen").value == FIRST


async def test_what_is_put_while_an_older_value_is_being_written_is_written_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "seen.json", Seen, "what was seen")
    kept.put(FIRST)
    kept.put(SECOND)
    await kept.close()
    assert Kept(tmp_path / "seen.json", Seen, "what was seen").value == SECOND


def test_a_damaged_file_is_named_and_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    path.write_text('{"epoch": "e1"}')
    with pytest.raises(ConfigError, match=r"seen\.json: what was seen cannot be read .* remove it"):
        Kept(path, Seen, "what was seen")


async def test_who_only_looks_keeps_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "seen.json", Seen, "what was seen", keep=False)
    kept.put(FIRST)
    await kept.close()
    assert names(tmp_path) == []
