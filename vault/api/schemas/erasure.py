"""The bodies of previews, grounds and certificates of erasures, as the OpenAPI document shows them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from vault.api.schemas.subjects import Body

Names = Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=200)]


class PreviewAsk(Body):
    """What an erasure is to be about; nothing named: everything."""

    fields: Names = ()
    collections: Names = ()
    purposes: Names = ()
    request: Annotated[
        UUID | None, Field(description="The request whose scope, and what staff keep from it, counts instead.")
    ] = None


class ErasedLine(Body):
    """A field that goes, and in how many records it is."""

    field: Annotated[str, Field(examples=["profile.email"])]
    records: int


class KeptLine(ErasedLine):
    """A field that stays: on which ground, by which law, and until when."""

    ground: Annotated[str, Field(examples=["legal-obligation"])]
    article: Annotated[str, Field(examples=["17(3)(b)"], description="Of the GDPR.")]
    purpose: str | None
    law: str | None
    until: date


class Preview(Body):
    """A verdict for every field."""

    subject: UUID
    becomes: Annotated[
        str, Field(description="The person's state after it: `erased`; `retained`, where a law keeps something.")
    ]
    erased: list[ErasedLine]
    kept: list[KeptLine]
    audit: UUID


class NewGround(Body):
    """What is kept from an erasure because legal claims are open (Art. 17(3)(e) GDPR)."""

    names: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200, examples=[["complaint.*"]])]
    until: date
    reason: Annotated[str, Field(max_length=500, description="Which claims; it is kept sealed.")]


class Grounded(Body):
    """The request from whose erasure something is kept now."""

    request: UUID


class Erasure(Body):
    """How far an erasure has come."""

    id: UUID
    request: UUID | None
    subject: UUID
    state: Annotated[str, Field(examples=["done"])]
    started_at: datetime
    finished_at: datetime | None


class Erasures(Body):
    """Some erasures, newest first; `next` is the cursor of the page after."""

    erasures: list[Erasure]
    next: UUID | None


class Certificate(Body):
    """A signed certificate; `cdv verify` checks it offline."""

    certificate: dict[str, Any]
    signature: dict[str, str]
