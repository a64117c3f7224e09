"""Bodies of calls about identity and of people in their own sessions."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from vault.api.schemas.requests import Identity, Scope
from vault.api.schemas.subjects import Body
from vault.catalogue.requests import KindName
from vault.requests.model import Level, Regime

Evidence = Annotated[
    str, Field(max_length=2000, description="One line of up to 500 characters; sealed under the person's own key.")
]
Code = Annotated[str, Field(max_length=40, description="As written in the letter.", examples=["1234 5678"])]
Language = Annotated[str | None, Field(max_length=10, description="Of the letter.", examples=["de"])]


class Vouch(Body):
    """An app vouches for a person who is signed in there."""

    level: Annotated[Level, Field(description="`fresh`: the person signed in there within the minutes before.")]
    evidence: Evidence | None = None


class Verify(Body):
    """One way of verifying a request: `send_code`; `code_id` with `code`; `vouch`; or `evidence`."""

    send_code: Annotated[
        Literal[True] | None, Field(description="Send a code to a contact that the vault holds already.")
    ] = None
    code_id: UUID | None = None
    code: Code | None = None
    vouch: Vouch | None = None
    evidence: Annotated[Evidence | None, Field(description="What a member of staff has checked; sealed.")] = None


class SignIn(Body):
    """A person who wants to sign in."""

    identity: Identity
    tenant: Annotated[str, Field(max_length=64, description="The controller, if the vault has several.")] = "default"
    language: Language = None


class Open(Body):
    """The code from the letter."""

    session: UUID
    code: Code


class MyNewRequest(Body):
    """A person's own request."""

    kind: KindName
    regime: Annotated[Regime, Field(description="The law that applies.")] = "gdpr"
    jurisdiction: Annotated[
        str | None, Field(max_length=10, description="Whose public holidays count: ISO 3166.", examples=["DE-BY"])
    ] = None
    language: Language = None
    scope: Scope = Scope()
    details: Annotated[
        dict[str, Any] | None, Field(max_length=50, description="As for `POST /v1/requests`; sealed.")
    ] = None
    follows: Annotated[UUID | None, Field(description="An earlier request that this one continues.")] = None


class Passphrase(Body):
    """The passphrase to which a package is encrypted."""

    passphrase: Annotated[str, Field(max_length=2_000, examples=["correct horse battery staple"])]
