"""Paths in a file: relative to its folder, `~` being the home of whoever runs the gateway."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from gateway.config.contents import expanded
from gateway.config.references import Context


def in_folder(value: Path, info: ValidationInfo) -> Path:
    """Return a path as the file means it."""
    folder = info.context.folder if isinstance(info.context, Context) else Path()
    return Path(folder / expanded(value))


FilePath = Annotated[Path, AfterValidator(in_folder)]
