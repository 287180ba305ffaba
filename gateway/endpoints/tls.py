"""TLS of the gateway's own, where no proxy terminates it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from gateway.config import Config


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Return the context for direct TLS (1.2 and up), or None where a proxy terminates it.

    Raises ConfigError where the files are not a certificate and its key.
    """
    tls = config.server.tls
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Nobody is there to be asked for the password of an encrypted key.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except OSError as error:
        unfit = "are not a certificate in PEM and its own key, unencrypted"
        why = unfit if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        text = f"{tls.cert_file} and {tls.key_file} {why}"
        raise ConfigError((Mistake("", "server.tls", None, text),)) from error
    return context
