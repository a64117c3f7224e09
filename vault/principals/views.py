"""The answers about apps and their keys, at the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from pydantic import Field

from vault.views import Moment, View

if TYPE_CHECKING:
    from datetime import datetime

    from vault.principals.principal import KeyInfo


class App(View):
    """An app with its roles."""

    id: UUID
    name: str
    kind: str
    roles: tuple[str, ...]
    state: str
    created_at: Moment | None


class ApiKey(View):
    """An API key: ``active``, ``expired`` or ``revoked``. The key itself is not stored."""

    id: UUID
    state: str
    created_at: Moment
    expires_at: Moment
    revoked_at: Moment | None

    @classmethod
    def of(cls, key: KeyInfo, now: datetime) -> ApiKey:
        """Show a key with its state of now."""
        state = "revoked" if key.revoked_at is not None else "active" if key.expires_at > now else "expired"
        return cls(
            id=key.id,
            state=state,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
        )


class NewApiKey(View):
    """A new API key; no other answer contains it."""

    id: UUID
    key: Annotated[str, Field(repr=False)]
    expires_at: Moment
    app: str
