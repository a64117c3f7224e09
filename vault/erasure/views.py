"""Answers about erasures: previews, progress, certificates and checks."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from vault.views import Moment, View


class ErasedField(View):
    """A field that is erased, and in how many records."""

    field: Annotated[str, Field(examples=["profile.email"])]
    records: int


class KeptField(ErasedField):
    """A field that is kept: on which ground, by which law, and until when."""

    ground: Annotated[str, Field(examples=["legal-obligation"])]
    article: Annotated[str, Field(examples=["17(3)(b)"], description="Of the GDPR.")]
    purpose: str | None
    law: str | None
    until: Annotated[date | None, Field(description="The last day; null while a legal hold stands.")]


class ErasurePreview(View):
    """What an erasure would do: a verdict for every field in its scope."""

    subject: UUID
    becomes: Annotated[
        str, Field(description="The subject's state after it: `erased`, or `retained` if a law keeps something.")
    ]
    erased: list[ErasedField]
    kept: list[KeptField]
    audit: UUID


class KeptForClaims(View):
    """The request from whose erasure something is kept now."""

    request: UUID


class ErasureProgress(View):
    """How far an erasure has come."""

    id: UUID
    request: UUID | None
    subject: UUID
    state: Annotated[str, Field(examples=["done"])]
    started_at: Moment
    finished_at: Moment | None
    letter: Annotated[
        str | None,
        Field(
            examples=["sent"],
            description="How the letter to the person ended: `sent`, or why it could not be sent, such as "
            "`no-contact`; null: not yet, or none was due.",
        ),
    ]


class ErasureList(View):
    """Some erasures, newest first; `next` is the cursor of the next page."""

    erasures: list[ErasureProgress]
    next: UUID | None


class ErasureCertificate(View):
    """A signed certificate; `cdv verify` checks it offline."""

    certificate: dict[str, Any]
    signature: dict[str, str]


class ErasureCheck(View):
    """What a check for remains looked at, and what it found: keys, and rows that should not be there."""

    files: int
    bytes: int
    rows: int
    keys: int
    wrong: int

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing remains."""
        return not (self.keys or self.wrong)
