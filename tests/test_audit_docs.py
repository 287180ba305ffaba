"""The pages that describe the audit trail name what the code records."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from gateway.model import AuditEvent

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "audit.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "gateway").rglob("*.py")))
# An event's type is the one kind of text in the code that is several words in CamelCase ending in a participle.
TYPE = r"(?:[A-Z][a-z]+)+(?:[A-Z][a-z]+ed|Withdrawn|Read)"


def reasons_of_the_gateway() -> set[str]:
    """Return the codes in the first column of that table of the page of reasons."""
    section = (ROOT / "docs" / "reasons.md").read_text().partition("## From the gateway\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def test_every_type_of_event_is_described_and_no_other():
    assert set(re.findall(f"`({TYPE})`", PAGE)) == set(re.findall(f'"({TYPE})"', SOURCES))


def test_every_member_of_an_event_is_described():
    assert {field.name for field in fields(AuditEvent)} <= set(re.findall(r"`([a-z_]+)`", PAGE))


def test_every_reason_of_the_gateway_itself_is_one_that_it_gives():
    assert not {code for code in reasons_of_the_gateway() if f'"{code}"' not in SOURCES}


def test_every_reason_that_an_event_can_end_with_is_described():
    recording = (ROOT / "gateway" / "recording.py").read_text()
    given = set(re.findall(r'"(?:error|failure)", "([a-z_]+)"', recording))
    assert given
    assert given <= reasons_of_the_gateway()
