"""Bodies of calls about requests."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, Field

from vault.api.schemas.subjects import Body
from vault.catalogue.requests import KindName
from vault.requests.decide import Outcome, Reason
from vault.requests.model import Regime

Note = Annotated[str | None, Field(max_length=2000, description="Why: one line of up to 500 characters; it is sealed.")]
Names = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)]


class Scope(Body):
    """What a request is about; if empty, everything."""

    fields: Names = Field([], examples=[["profile.phone"]])
    collections: Names = Field([])
    purposes: Names = Field([])


class Identity(Body):
    """A claimed identity: an e-mail address that the vault may hold, or ids in other systems."""

    email: Annotated[str | None, Field(max_length=320, examples=["ada@example.org"])] = None
    external_id: Annotated[dict[str, Any] | None, Field(max_length=20, examples=[{"shop": "4711"}])] = None


class NewRequest(Body):
    """A request of a data subject."""

    kind: KindName
    subject: Annotated[UUID | None, Field(description="The person's id; or else `identity`.")] = None
    identity: Annotated[
        Identity | None, Field(description="The answer is the same whether or not there is such a person.")
    ] = None
    regime: Annotated[Regime, Field(description="The law that applies.")] = "gdpr"
    jurisdiction: Annotated[
        str | None,
        Field(max_length=10, description="Whose public holidays count: ISO 3166.", examples=["DE-BY"]),
    ] = None
    language: Annotated[str | None, Field(max_length=10, description="Language of the answer.")] = None
    channel: Annotated[str | None, Field(max_length=64, description="How it was received.", examples=["web"])] = None
    scope: Scope = Scope()
    details: dict[str, Any] = Field({}, description="What the person says; sealed under their own key.")
    received_at: Annotated[
        AwareDatetime | None, Field(description="When it reached you, within the last 60 days; now by default.")
    ] = None
    follows: Annotated[UUID | None, Field(description="An earlier request of the person that this one continues.")] = (
        None
    )


class Decision(Body):
    """A decision, with a note if there is one."""

    note: Note = None


class Rejection(Decision):
    """A rejection."""

    ground: Annotated[str, Field(max_length=64, description="A legal ground.", examples=["legal-obligation"])]


class DeadlineExtension(Decision):
    """An extension of the deadline."""

    reason: Reason


class ReviewCompletion(Decision):
    """The end of the review of an automated decision."""

    outcome: Outcome
