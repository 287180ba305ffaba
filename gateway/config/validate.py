"""Schema, then rules, with every mistake of both at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from gateway.config.document import Document, Path, dotted
from gateway.config.known import nearest
from gateway.config.mistakes import UNKNOWN_KEY, location, worded
from gateway.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic_core import ErrorDetails

    from gateway.config.findings import Finding
    from gateway.config.forms import Form
    from gateway.config.references import Context

T = TypeVar("T")
ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Validated(Generic[T]):
    """What was made of a file, None where nothing can be, and its mistakes by line."""

    value: T | None
    mistakes: tuple[Mistake, ...]


def validated(
    document: Document, form: Form[T], rules: Callable[[T], Iterator[Finding]], context: Context
) -> Validated[T]:
    """Return what is made of a file, and every mistake in it.

    The rules are tried also where the schema failed, on what is left once the bad values are taken out.
    """
    if not isinstance(document.data, dict):
        return Validated(None, tuple(document.mistakes) or (_no_mapping(document, form),))
    mistakes = list(document.mistakes)
    bad: set[Path] = set()
    doubtful: set[Path] = set()
    for round_ in range(ROUNDS):
        try:
            made = form.adapter.validate_python(_without(document.data, bad, ()), context=context)
        except ValidationError as error:
            found = error.errors(include_url=False)
            mistakes += [] if round_ else [worded(one, document, form.root) for one in found]
            bad |= {_removable(one) for one in found}
            doubtful |= bad | set(_meant(found, form))
        else:
            findings = [one for one in rules(made) if not _touches(one, doubtful)]
            return Validated(made, _sorted([*mistakes, *(placed(one, document) for one in findings)]))
    return Validated(None, _sorted(mistakes))


def placed(finding: Finding, document: Document) -> Mistake:
    """Return a broken rule as a mistake with its line."""
    return Mistake(document.file, dotted(finding.path), document.line(finding.path), finding.message)


def _no_mapping(document: Document, form: Form[Any]) -> Mistake:
    what = "is empty" if document.data is None else "must be a mapping (key: value)"
    return Mistake(document.file, "", None, f"{what}; see {form.page} for an example")


def _sorted(mistakes: Iterable[Mistake]) -> tuple[Mistake, ...]:
    return tuple(sorted(mistakes, key=lambda one: one.line or 0))


def _meant(errors: Iterable[ErrorDetails], form: Form[Any]) -> Iterator[Path]:
    """Yield the keys that unknown ones were probably meant for."""
    for one in errors:
        if one["type"] in UNKNOWN_KEY and (found := nearest(form.root, location(one))):
            yield found


def _removable(error: ErrorDetails) -> Path:
    """Return what to take out so that the rest can be judged: never one item of a list, which would renumber it."""
    path = location(error)
    if error["type"] == "missing":
        path = path[:-1]
    index = next((at for at, step in enumerate(path) if isinstance(step, int)), len(path))
    return path[:index]


def _without(value: Any, bad: set[Path], at: Path) -> Any:
    if not bad or not isinstance(value, dict):
        return value
    return {key: _without(one, bad, (*at, key)) for key, one in value.items() if (*at, key) not in bad}


def _touches(finding: Finding, doubtful: set[Path]) -> bool:
    """Whether a rule was judged by a value that is itself a mistake: what it would say is not to be trusted."""
    paths = (finding.path, *finding.about)
    return any(path[: len(bad)] == bad or bad[: len(path)] == path for path in paths for bad in doubtful)
