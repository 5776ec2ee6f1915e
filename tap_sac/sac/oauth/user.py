"""The user who signed in to get a token (3-legged)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tap_sac.safety.text import log_safe

# unseen: claims of SAC's tokens; these are documented for JWTs of SAP's XSUAA
_IDS = ("user_uuid", "sub")
_NAMES = ("user_name", "email")
_JWT_FIELDS = 3


@dataclass(frozen=True)
class User:
    """A signed-in user.

    Attributes:
        id: The unique ID; None if the token has none.
        name: The name, safe for a log line; None if the token has none.
    """

    id: str | None
    name: str | None

    @property
    def fingerprint(self) -> str | None:
        """A hash of the ID, for places that must not reveal it."""
        return hashlib.sha256(self.id.encode()).hexdigest() if self.id else None


def user_of(token: str) -> User:
    """Read the user of an access token.

    The signature is not verified: the tenant itself has just issued the token, and the claims are
    only used in messages and comparisons. Only a JSON Web Token (RFC 7519) has claims.
    """
    claims = claims_of(token)
    name = _first(claims, _NAMES)
    return User(_first(claims, _IDS), name and log_safe(name))


def claims_of(token: str) -> dict[str, Any]:
    """Read the claims of a JWT; empty for other tokens."""
    fields = token.split(".")
    if len(fields) != _JWT_FIELDS:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(fields[1] + "=" * (-len(fields[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _first(claims: dict[str, Any], names: tuple[str, ...]) -> str | None:
    values = (claims.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), None)
