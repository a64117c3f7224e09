"""The bodies of requests about consents, objections and restrictions, and of their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from vault.api.schemas.subjects import Body, Purpose
from vault.consent.event import By, Method
from vault.consent.validation import Decision

Reason = Annotated[str, Field(max_length=500, description="One line, sealed under the person's own key.")]


def _one_of(words: Any, text: str) -> Any:
    """Describe the words of a list; the operation checks them, so that all faults are told at once."""
    return Field(max_length=64, description=text, json_schema_extra={"enum": list(get_args(words))})


class NewConsent(Body):
    """What a person says of a purpose that rests on consent."""

    purpose: Annotated[str, Field(max_length=64, description="A purpose of purposes.toml.")]
    decision: Annotated[str, _one_of(Decision, "What the person says.")]
    notice: Annotated[
        str | None,
        Field(max_length=80, description="The text that the person saw; needed for a yes.", examples=["marketing@3"]),
    ] = None
    language: Annotated[
        str | None, Field(max_length=10, description="In which language; the notice's main one by default.")
    ] = None
    channel: Annotated[str | None, Field(max_length=64, description="Where it was said.", examples=["web"])] = None
    method: Annotated[
        str | None, Field(max_length=64, description="How; needed for a yes.", examples=list(get_args(Method)))
    ] = None
    by: Annotated[str, _one_of(By, "Who said it: the person, a guardian, or somebody on their behalf.")] = "subject"
    evidence: Annotated[
        str | None,
        Field(max_length=2000, description="Where the proof lies: one line of up to 500 characters; it is sealed."),
    ] = None
    jurisdiction: Annotated[
        str | None, Field(max_length=10, description="Whose law applies: ISO 3166.", examples=["IE", "US-CA"])
    ] = None
    occurred_at: Annotated[AwareDatetime | None, Field(description="When it was said; now by default.")] = None
    valid_until: Annotated[AwareDatetime | None, Field(description="When a yes ends by itself.")] = None


class NewObjection(Body):
    """To what a person objects."""

    purpose: Purpose
    reason: Reason | None = None


class ObjectionDecision(Body):
    """How an objection is decided."""

    decision: Literal["upheld", "overruled"]
    reason: Reason


class NewRestriction(Body):
    """Why a person's data is restricted (Art. 18(1)(a) to (d) GDPR)."""

    ground: Literal["accuracy", "unlawful", "claims", "objection"]
    reason: Reason | None = None


class AnnounceLift(Body):
    """How the person was told that the restriction will be lifted; left out, a letter is sent to them."""

    told: Annotated[
        str | None,
        Field(max_length=500, description="How, such as `by post`: one line, sealed.", examples=["by post"]),
    ] = None


class LiftAnnounced(BaseModel):
    """The event, and from when on the restriction may be lifted."""

    id: UUID
    state: str
    lift_from: datetime


class Lift(Body):
    """Why a restriction is lifted."""

    reason: Reason | None = None


class ConsentCheck(Body):
    """For whom and for what the legal ground is asked after."""

    subjects: Annotated[list[UUID], Field(min_length=1, max_length=1000)]
    purposes: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=50)]


class Token(Body):
    """The token of a confirmation."""

    token: Annotated[str, Field(max_length=200)]


class Confirmation(BaseModel):
    """What the person has to send back."""

    token: str
    expires: datetime
    link: Annotated[str | None, Field(description="To send to the person; only where the vault knows its address.")]


class Recorded(BaseModel):
    """The event, and how things stand after it."""

    id: UUID
    state: str
    confirmation: Confirmation | None = None


class Confirmed(BaseModel):
    """The event of the consent that was confirmed."""

    id: UUID
    state: str


class Signalled(BaseModel):
    """How the purposes that sell or share stand after a browser's signal."""

    purposes: dict[str, str]


class Stands(BaseModel):
    """How a person stands on one purpose."""

    state: str
    since: datetime | None
    event: UUID | None
    notice: str | None
    method: str | None
    by: str | None
    valid_until: datetime | None
    renew: Annotated[bool, Field(description="A consent that was given does not count any more: ask anew.")]
    objection: str
    objected_at: datetime | None


class ConsentState(BaseModel):
    """Where a person stands, and a page of what led there, newest first."""

    subject: UUID
    state: str
    restricted_at: datetime | None
    consents: dict[str, Stands]
    history: list[dict[str, Any]]
    next: str | None
    audit: UUID


class CheckResult(BaseModel):
    """Yes or no for one subject."""

    subject: UUID
    purposes: dict[str, bool]


class Checked(BaseModel):
    """Yes or no for each subject and purpose."""

    results: list[CheckResult]
    audit: UUID
