"""`portcullis opa config`: OPA's configuration file, for an OPA that somebody else starts."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bundles.signing import ensure_key, verification_keys
from gateway.cli.common import installation_options
from gateway.config import Config, Source, load
from gateway.errors import ConfigError, Mistake
from gateway.pdp.opa_config import OpaSettings, opa_config
from gateway.state import StateDir, write_whole


@click.command("config")
@installation_options
@click.option("--replica", help="The replica's name; else opa.replica.")
@click.option("--sync-url", help="Where OPA finds sync; else sync.url.")
@click.option(
    "--token-path",
    type=click.Path(path_type=Path),
    help="Where OPA finds the replica's token; else the file in the state directory, made if absent.",
)
@click.option(
    "--persistence-directory",
    type=click.Path(path_type=Path),
    help="Where OPA keeps its bundles; else in the state directory.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it there, 0600, with the token at --token-path, for an OPA that sees no state directory.",
)
def config(
    config_path: Source,
    state_dir: Path | None,
    replica: str | None,
    sync_url: str | None,
    token_path: Path | None,
    persistence_directory: Path | None,
    output: Path | None,
) -> None:
    """Print OPA's configuration file. It has every public key of sync that lies in the state directory.

    With --output, keys and token are made first where there are none, so that it can be the very first command.
    """
    loaded = load(config_path).config
    state = StateDir.open(state_dir)
    name = replica or loaded.opa.replica
    token = state.replica_token(name)
    if token_path is None:
        state.secret(token)
    if output is not None:
        ensure_key(loaded, state)
    settings = OpaSettings(
        sync_url=sync_url or _sync_url(loaded, config_path.config),
        replica=name,
        token_path=token_path or token,
        keys=verification_keys(state.path),
        directory=persistence_directory or state.opa_dir,
    )
    document = json.dumps(opa_config(settings), indent=2)
    if output is None:
        click.echo(document)
        return
    if token_path is not None:
        _put(token_path, state.secret(token))
    _put(output, f"{document}\n")


def _put(path: Path, text: str) -> None:
    """Write a private file, whole or not at all; OPA may be reading the older one."""
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise ConfigError((Mistake(str(path), "", None, f"cannot be written: {error.strerror}"),)) from error


def _sync_url(config: Config, path: Path) -> str:
    if config.sync.url is None:
        raise ConfigError((Mistake(str(path), "sync.url", None, "is not set; set it, or pass --sync-url"),))
    return config.sync.url
