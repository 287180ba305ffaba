"""How every command fails: in words on stderr, or where `--json` was asked for, as one object on stdout."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gateway.errors import ConfigError, GatewayError, InvalidBody, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

JSON = "--json"


@contextmanager
def failing(words: Sequence[str]) -> Iterator[None]:
    """Have whatever the gateway refuses end the command with status 1, told as these words of the command ask for."""
    try:
        try:
            yield
        except GatewayError as error:
            raise click.ClickException(str(error)) from error
    except click.ClickException as error:
        if JSON not in words:
            raise
        click.echo(json.dumps({"error": described(error.__cause__ or error, error.format_message())}))
        raise click.exceptions.Exit(error.exit_code) from error


def described(error: BaseException, message: str) -> dict[str, Any]:
    """Return what programs are told of an error; `code` is its kind, as in `config_error` or `not_found`."""
    mistakes = error.mistakes if isinstance(error, ConfigError) else ()
    if isinstance(error, InvalidBody):
        mistakes = tuple(Mistake("", field, None, why) for field, why in error.errors)
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
    if isinstance(error, click.UsageError):
        code = "usage_error"
    return {"code": code, "message": message, "mistakes": [asdict(one) for one in mistakes]}
