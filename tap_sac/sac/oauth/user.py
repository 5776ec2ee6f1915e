"""The person whose sign-in a token comes from (3-legged)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tap_sac.safety.text import log_safe

# That SAC's tokens, which are JWTs of SAP's XSUAA, have these claims is a guess from its documents.
_IDS = ("user_uuid", "sub")
_NAMES = ("user_name", "email")
_PARTS_OF_A_JWT = 3


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in.

    Attributes:
        id: What tells the person from others; None if the token does not say.
        name: What the person is called, fit for a log line; None if the token does not say.
    """

    id: str | None
    name: str | None

    @property
    def fingerprint(self) -> str | None:
        """A hash of the id, for places that need not know who it is."""
        return hashlib.sha256(self.id.encode()).hexdigest() if self.id else None


def person_of(token: str) -> Person:
    """Read from an access token whose it is.

    The token is not verified, because the tenant itself has just given it; nothing but messages
    and comparisons depend on what it says.

    Args:
        token: A JSON Web Token (RFC 7519), or any other, which says nothing.
    """
    claims = _claims(token)
    name = _first(claims, _NAMES)
    return Person(_first(claims, _IDS), name and log_safe(name))


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != _PARTS_OF_A_JWT:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _first(claims: dict[str, Any], names: tuple[str, ...]) -> str | None:
    values = (claims.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), None)
