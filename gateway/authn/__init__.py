"""Who is asking: one credential in, one frozen principal out."""

from gateway.authn.chain import Authn
from gateway.authn.credentials import CredentialIndex
from gateway.authn.last_used import LastUse
from gateway.authn.presented import Presented, present

__all__ = ["Authn", "CredentialIndex", "LastUse", "Presented", "present"]
