"""Which keys a kind of file may have, read off its typed objects."""

from __future__ import annotations

import dataclasses
import difflib
import types
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic.json_schema import SkipJsonSchema

from gateway.config.sections import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.document import Path

_LIKE_ENOUGH, _NEARBY = 0.75, 0.15


def keys_of(section: Any) -> Mapping[str, Any]:
    """Return the keys of a section with their types; none where it is no section."""
    if isinstance(section, type) and issubclass(section, Section):
        return {name: found.annotation for name, found in section.model_fields.items()}
    if isinstance(section, type) and dataclasses.is_dataclass(section):
        return {one.name: one.type for one in dataclasses.fields(section) if not _is_internal(one.type)}
    return {}


def all_keys(section: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every key below a section; an entry of a map is `<id>`, one of a list `<number>`."""
    if get_origin(section) in (dict, tuple):
        yield from all_keys(_below(section, 0), (*path, "<id>" if get_origin(section) is dict else "<number>"))
    for name, found in keys_of(section).items():
        yield (*path, name)
        yield from all_keys(_bare(found), (*path, name))


def known_keys(root: Any, path: Path) -> tuple[str, ...]:
    """Return the keys that the section at `path` may have; none where `path` leads to no section."""
    section = root
    for step in path:
        section = _below(section, step)
    return tuple(keys_of(section))


def nearest(root: Any, path: Path) -> Path | None:
    """Return the path of the known key that `path`, whose last step is unknown, most resembles; near ones first."""
    here = path[:-1]
    best, found = _LIKE_ENOUGH, None
    for known in (*((*here, key) for key in known_keys(root, here)), *all_keys(root)):
        likeness = difflib.SequenceMatcher(None, str(path[-1]), str(known[-1])).ratio()
        likeness += _NEARBY * (known[:-1] == here)
        if likeness > best:
            best, found = likeness, known
    return found


def _below(annotation: Any, step: str | int) -> Any:
    if get_origin(annotation) in (dict, tuple):
        arguments = get_args(annotation)
        return _bare(arguments[1] if get_origin(annotation) is dict else arguments[0])
    return _bare(keys_of(annotation).get(str(step)))


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (types.UnionType, Union):
        return next((_bare(one) for one in get_args(annotation) if one is not type(None)), None)
    return annotation


def _is_internal(annotation: Any) -> bool:
    """Whether a field is filled by the loader and by no file."""
    return get_origin(annotation) is Annotated and any(type(one) is SkipJsonSchema for one in get_args(annotation))
