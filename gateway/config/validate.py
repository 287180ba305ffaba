"""Schema, then rules, with every mistake of both at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.config.document import Document, Path, dotted
from gateway.config.mistakes import location, nearest, worded
from gateway.config.rules import Finding, refusals
from gateway.config.schema import Config
from gateway.errors import Mistake

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from gateway.config.references import Context

ROUNDS = 8


def validated(document: Document, context: Context) -> tuple[Config | None, list[Mistake]]:
    """Return the configuration, None where nothing can be made of the file, and every mistake.

    The rules are tried also where the schema failed, on what is left once the bad values are taken out.
    """
    mistakes: list[Mistake] = []
    bad: set[Path] = set()
    doubtful: set[Path] = set()
    for round_ in range(ROUNDS):
        try:
            config = Config.model_validate(_without(document.data, bad, ()), context=context)
        except ValidationError as error:
            found = error.errors(include_url=False)
            mistakes += [] if round_ else [worded(one, document) for one in found]
            bad |= {_removable(one) for one in found}
            doubtful |= bad | {nearest(location(one)) or () for one in found if one["type"] == "extra_forbidden"} - {()}
        else:
            findings = [one for one in refusals(config) if not _touches(one, doubtful)]
            return config, mistakes + [_placed(one, document) for one in findings]
    return None, mistakes


def _removable(error: ErrorDetails) -> Path:
    """Return what to take out so that the rest can be judged: never one item of a list, which would renumber it."""
    path = location(error)
    if error["type"] == "missing":
        path = path[:-1]
    index = next((at for at, step in enumerate(path) if isinstance(step, int)), len(path))
    return path[:index]


def _without(value: Any, bad: set[Path], at: Path) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without(one, bad, (*at, key)) for key, one in value.items() if (*at, key) not in bad}


def _touches(finding: Finding, doubtful: set[Path]) -> bool:
    """Whether a rule was judged by a value that is itself a mistake: what it would say is not to be trusted."""
    paths = (finding.path, *finding.about)
    return any(path[: len(bad)] == bad or bad[: len(path)] == path for path in paths for bad in doubtful)


def _placed(finding: Finding, document: Document) -> Mistake:
    return Mistake(document.file, dotted(finding.path), document.line(finding.path), finding.message)
