"""The bodies of requests about consents, objections and restrictions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import AwareDatetime, Field

from vault.api.schemas.subjects import Body, Purpose
from vault.consent.model import By, Method
from vault.consent.validation import Decision

Reason = Annotated[str, Field(max_length=500, description="One line; sealed under the person's own key.")]


def _one_of(words: Any, text: str) -> Any:
    """Describe a closed list of values; the operation checks them, so that it reports all faults at once."""
    return Field(max_length=64, description=text, json_schema_extra={"enum": list(get_args(words))})


class NewConsent(Body):
    """What a person states about a purpose that rests on consent."""

    purpose: Annotated[str, Field(max_length=64, description="A purpose of purposes.toml.")]
    decision: Annotated[str, _one_of(Decision, "The person's decision.")]
    notice: Annotated[
        str | None,
        Field(max_length=80, description="The version that was shown; required to agree.", examples=["marketing@3"]),
    ] = None
    language: Annotated[
        str | None, Field(max_length=10, description="Language of the notice; its main one by default.")
    ] = None
    channel: Annotated[str | None, Field(max_length=64, description="Where the person decided.", examples=["web"])] = (
        None
    )
    method: Annotated[
        str | None,
        Field(
            max_length=64,
            description="How the person indicated it; required to agree.",
            examples=list(get_args(Method)),
        ),
    ] = None
    by: Annotated[str, _one_of(By, "Who decided: the person, a guardian, or staff or an app on their behalf.")] = (
        "subject"
    )
    evidence: Annotated[
        str | None,
        Field(max_length=2000, description="Where the proof is: one line of up to 500 characters; sealed."),
    ] = None
    jurisdiction: Annotated[
        str | None,
        Field(max_length=10, description="The law that applies: ISO 3166.", examples=["IE", "US-CA"]),
    ] = None
    occurred_at: Annotated[AwareDatetime | None, Field(description="When the person decided; now by default.")] = None
    valid_until: Annotated[AwareDatetime | None, Field(description="When an agreement expires.")] = None


class NewObjection(Body):
    """The purpose that a person objects to."""

    purpose: Purpose
    reason: Reason | None = None


class ObjectionDecision(Body):
    """The decision on an objection."""

    decision: Literal["upheld", "overruled"]
    reason: Reason


class NewRestriction(Body):
    """Why a person's data is restricted (Art. 18(1)(a) to (d) GDPR)."""

    ground: Literal["accuracy", "unlawful", "claims", "objection"]
    reason: Reason | None = None


class AnnounceLift(Body):
    """How the person was informed that the restriction will be lifted. Without it, a letter is sent to them."""

    told: Annotated[
        str | None,
        Field(max_length=500, description="How, such as `by post`: one line; sealed.", examples=["by post"]),
    ] = None


class Lift(Body):
    """Why a restriction is lifted."""

    reason: Reason | None = None


class ConsentCheck(Body):
    """The people and purposes to check."""

    subjects: Annotated[list[UUID], Field(min_length=1, max_length=1000)]
    purposes: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=50)]


class Token(Body):
    """The token of a confirmation."""

    token: Annotated[str, Field(max_length=200)]
