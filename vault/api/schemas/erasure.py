"""Request bodies of erasures."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import Field

from vault.api.schemas.subjects import Body

Names = Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=200)]


class PreviewErasure(Body):
    """The scope of an erasure; if nothing is named, everything."""

    fields: Names = ()
    collections: Names = ()
    purposes: Names = ()
    request: Annotated[
        UUID | None, Field(description="Use the scope of this request, and what staff keep from it, instead.")
    ] = None


class KeepForClaims(Body):
    """What is kept from an erasure because of open legal claims (Art. 17(3)(e) GDPR)."""

    names: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200, examples=[["complaint.*"]])]
    until: date
    reason: Annotated[str, Field(max_length=500, description="Which claims. It is stored sealed.")]
