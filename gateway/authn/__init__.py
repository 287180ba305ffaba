"""Who is asking: one credential in, one frozen principal out."""

from gateway.authn.api_key import CredentialIndex
from gateway.authn.chain import Authn
from gateway.authn.presented import Presented, present

__all__ = ["Authn", "CredentialIndex", "Presented", "present"]
