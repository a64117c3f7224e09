"""Answers about packages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import Field

from vault.export.store import PackageState
from vault.views import Moment, View

if TYPE_CHECKING:
    from vault.export.store import Package


class PackageSummary(View):
    """A package, without its content."""

    id: UUID
    request: UUID = Field(description="The request that it answers.")
    kind: str
    state: PackageState
    size: int = Field(description="Bytes of the ZIP.")
    sha256: str | None = Field(description="Of the ZIP, in hexadecimal; null until it is ready.")
    created_at: Moment
    expires_at: Moment

    @classmethod
    def of(cls, package: Package) -> PackageSummary:
        """Return the summary of a package."""
        return cls(
            id=package.id,
            request=package.request,
            kind=package.facts.kind,
            state=package.state,
            size=package.size,
            sha256=None if package.digest is None else package.digest.hex(),
            created_at=package.created_at,
            expires_at=package.expires_at,
        )


class SentPackage(View):
    """A package that was sent to another controller, and the answer to it."""

    size: int = Field(description="Bytes of the ZIP.")
    sha256: str = Field(description="Of the ZIP, in hexadecimal.")
    status: int = Field(description="The HTTP status of the answer, 200 to 299.")
    audit: UUID = Field(description="The audit entry that was written before the first byte was sent.")
