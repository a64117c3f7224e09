"""The answers about consents, objections, restrictions and receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from msgspec.structs import asdict
from pydantic import Field

from vault.consent.model import By, Kind, Method, Objection, Source, State
from vault.crypto.signing import as_jwk
from vault.views import Moment, OmitIfNone, View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.consent.model import Event
    from vault.crypto.signing import PublicKey


class RecordedEvent(View):
    """The event, and the state after it."""

    id: UUID
    state: str


class ConfirmationToken(View):
    """What the person has to send back. The token is shown once: an answer that is repeated does not have it."""

    token: Annotated[OmitIfNone[str], Field(repr=False)] = None
    expires: Moment
    link: Annotated[
        OmitIfNone[str],
        Field(repr=False, description="To send to the person; only if the vault knows its own address."),
    ] = None


class RecordedConsent(RecordedEvent):
    """The event, the state after it, and of a double opt-in the token that confirms it."""

    confirmation: OmitIfNone[ConfirmationToken] = None

    def with_link(self, page: str) -> RecordedConsent:
        """Add the link of the page that confirms; ``page`` ends where the token goes."""
        if self.confirmation is None:
            return self
        link = f"{page}{self.confirmation.token}"
        return self.model_copy(update={"confirmation": self.confirmation.model_copy(update={"link": link})})

    def without_token(self) -> RecordedConsent:
        """Return the part that may be stored: the database has no token, only its digest."""
        if self.confirmation is None:
            return self
        return self.model_copy(update={"confirmation": ConfirmationToken(expires=self.confirmation.expires)})


class SignalResult(View):
    """The state of the purposes that sell or share data, after a browser's signal."""

    purposes: dict[str, State]


class LiftAnnouncement(View):
    """The event, and from when on the restriction may be lifted."""

    id: UUID
    state: str = "restricted"
    lift_from: Moment


class ConsentEvent(View):
    """One event: what a person said, or what was decided for them."""

    id: UUID
    subject: UUID
    kind: Kind
    by: By
    occurred_at: Moment
    recorded_at: Moment
    origin: Source
    purpose: str | None
    notice: str | None
    notice_digest: str | None
    language: str | None
    channel: str | None
    method: Method | None
    recorder: UUID | None
    evidence: Annotated[str | None, Field(description="In clear for callers who may read it; else `sealed`.")]
    jurisdiction: str | None
    valid_until: Moment | None
    source: str | None
    answers: UUID | None
    final: bool
    ground: str | None
    policy: str | None

    @classmethod
    def of(cls, event: Event, evidence: str | None) -> ConsentEvent:
        """Show an event with its evidence, which the caller has opened or left sealed."""
        return cls(**{**asdict(event), "evidence": evidence})


class PurposeConsent(View):
    """The state of one purpose for a person."""

    state: State
    since: Moment | None
    event: UUID | None
    notice: str | None
    method: str | None
    by: str | None
    valid_until: Moment | None
    renew: Annotated[
        bool, Field(description="A consent was given and no longer counts: the notice changed, or it expired.")
    ]
    objection: Objection
    objected_at: Moment | None


class ConsentOverview(View):
    """The state of a person's consents, and a page of the events that led to it, newest first."""

    subject: UUID
    state: str
    restricted_at: Moment | None
    consents: dict[str, PurposeConsent]
    history: list[ConsentEvent]
    next: str | None
    audit: UUID


class ConsentCheckResult(View):
    """Whether each purpose may go on for one subject."""

    subject: UUID
    purposes: dict[str, bool]


class ConsentCheckResults(View):
    """Whether each purpose may go on, subject by subject in the order of the request."""

    results: list[ConsentCheckResult]
    checked_at: Moment
    valid_until: Annotated[
        Moment,
        Field(
            description="Until when every yes can be used: the first moment at which one may end by itself, 15 minutes "
            "at the most. A withdrawal or an objection ends it at once, so check right before each use."
        ),
    ]
    audit: UUID


class ConsentComparison(View):
    """The result of a comparison of all consent states with the events that they follow from."""

    people: int
    differences: Annotated[list[UUID], Field(description="The people whose state did not follow from their events.")]
    repaired: int


class ExpiredConsents(View):
    """How many consents ended because they were given until a day that is over."""

    people: Annotated[int, Field(description="How many people were checked.")]
    expired: int


class ImportFault(View):
    """One thing wrong with an item."""

    at: Annotated[str, Field(description="JSON pointer (RFC 6901)")]
    code: str
    detail: str


class ImportedConsent(View):
    """The result for one item: its event, or what is wrong with it."""

    id: OmitIfNone[UUID] = None
    state: Annotated[OmitIfNone[str], Field(description="`written`, or `there` if it was imported before.")] = None
    errors: OmitIfNone[list[ImportFault]] = None


class ImportedConsents(View):
    """The result for each item, in the order of the request."""

    results: list[ImportedConsent]
    written: int
    there: int
    refused: int
    audit: UUID | None


class ReceiptSignature(View):
    """An Ed25519 signature over the canonical JSON (RFC 8785) of the file without its ``value``."""

    algorithm: str
    key: str
    public_key: str
    signed_at: str
    value: str


class SignedReceipt(View):
    """A receipt, in the chosen format, and its signature."""

    receipt: dict[str, object]
    signature: ReceiptSignature


class SigningKey(View):
    """A public key as JWK (RFC 7517, RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str
    status: Annotated[str, Field(description="`current` for the key that signs now, else `retired`.")]


class SigningKeys(View):
    """The public keys by which a tenant signs or ever signed, the current one first."""

    keys: list[SigningKey]

    @classmethod
    def of(cls, keys: Iterable[PublicKey]) -> SigningKeys:
        """Show keys."""
        return cls(keys=[SigningKey.model_validate(as_jwk(key)) for key in keys])
