"""`storage.url`: where the ledger lies, and its password, which is never written into the file nor shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from gateway.config.paths import in_folder
from gateway.config.references import Context, Part, parts_of
from gateway.config.values import Secret

if TYPE_CHECKING:
    from pydantic import ValidationInfo

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgres://")
FORMS = "sqlite:///path (relative to this file), sqlite:////path (absolute) or postgresql://user@host/database"
SECRET_PARAMETERS = ("password", "sslpassword")
STOOD = "\0"  # where a reference stood
_REFERENCE = re.compile(r"\$\{[^}]*\}")


def storage_url(value: Any, info: ValidationInfo) -> str | Secret:
    """Return the ledger's address as it is used; raises ValueError, without quoting what may be a password."""
    if not isinstance(value, str):
        raise ValueError(f"must be {FORMS}")
    parts = parts_of(value, info.context if isinstance(info.context, Context) else Context(Path(), {}))
    # Within an address a secret is quoted, so that it may hold any character; one that is all of it is an address.
    whole = len(parts) == 1 and isinstance(parts[0], Secret)
    address = "".join(_written(part, whole=whole) for part in parts)
    if address.startswith(SQLITE) and address != SQLITE:
        return f"{SQLITE}{in_folder(Path(address.removeprefix(SQLITE)), info).absolute()}"
    if not address.startswith(POSTGRESQL) or not address.isprintable():
        raise ValueError(f"must be {FORMS}")
    if not whole and _has_password(value):
        raise ValueError(
            "holds a password in the open; write ${env:NAME} or ${file:/run/secrets/name} in its place, "
            "or leave it out and set PGPASSWORD or PGPASSFILE"
        )
    return Secret(value, address) if any(isinstance(part, Secret) for part in parts) else value


def _written(part: Part, *, whole: bool) -> str:
    if not isinstance(part, Secret):
        return part
    return part.reveal() if whole else quoted(part.reveal())


def quoted(secret: str) -> str:
    """Return a secret as it stands within an address."""
    return quote(secret, safe="")


def _has_password(written: str) -> bool:
    """Say whether an address as it is written in the file holds a password that is no reference."""
    authority, _, query = _REFERENCE.sub(STOOD, written).partition("://")[2].partition("?")
    user, at, _ = authority.rpartition("@")
    password = user.partition(":")[2] if at else ""
    given = [password, *(value for name, value in parse_qsl(query) if name in SECRET_PARAMETERS)]
    return any(one.replace(STOOD, "") for one in given)
