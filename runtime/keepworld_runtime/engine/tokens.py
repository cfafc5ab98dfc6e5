"""The secrets that open sessions: told once, kept as what they hash to."""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """One that nobody can guess."""
    return secrets.token_urlsafe(24)


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()
