"""The answers about governance: the audit log, the policies in force, notices, and the record of processing."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import msgspec
from pydantic import Field, WithJsonSchema

from vault.audit.entry import Action, Decision
from vault.catalogue.model import CLEAR
from vault.views import Moment, OmitIfNone, View

if TYPE_CHECKING:
    from vault.audit.log import Page
    from vault.catalogue import model
    from vault.policy.store import ActivePolicy

Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339 in UTC with microseconds, as the audit log has it."""


# --- the audit log


def _is_empty(value: object) -> bool:
    return not value


class AuditEntry(View):
    """One entry of the audit log, as it is stored: what an entry does not state is left out."""

    id: UUID
    tenant: str
    at: Timestamp
    action: Action
    decision: Decision
    principal: OmitIfNone[UUID] = None
    principal_name: OmitIfNone[str] = None
    purpose: OmitIfNone[str] = None
    fields: Annotated[tuple[str, ...], Field(exclude_if=_is_empty)] = ()
    matched: Annotated[tuple[str, ...], Field(exclude_if=_is_empty)] = ()
    subjects: Annotated[
        tuple[UUID, ...], Field(exclude_if=_is_empty, description="Pseudonyms of the people concerned.")
    ] = ()
    withheld: Annotated[tuple[UUID, ...], Field(exclude_if=_is_empty)] = ()
    refused: Annotated[
        dict[str, str],
        Field(default_factory=dict, exclude_if=_is_empty, description="Codes of refusal, by field."),
    ]
    code: OmitIfNone[str] = None
    rule: OmitIfNone[str] = None
    policy: OmitIfNone[str] = None
    request: OmitIfNone[str] = None
    reason: Annotated[OmitIfNone[str], Field(description="Sealed free text, in base64.")] = None
    reasons: Annotated[tuple[str, ...], Field(exclude_if=_is_empty)] = ()
    target: OmitIfNone[UUID] = None
    count: Annotated[
        int, Field(exclude_if=lambda count: count == 1, description="Number of alike events; 1 is left out.")
    ] = 1


class AuditPage(View):
    """Audit entries, newest first, or oldest first after an entry; the next page goes on from ``next``."""

    entries: list[AuditEntry]
    next: str | None

    @classmethod
    def of(cls, page: Page) -> AuditPage:
        """Show a page of the log."""
        entries = [AuditEntry.model_validate(msgspec.to_builtins(entry)) for entry in page.entries]
        return cls(entries=entries, next=None if page.next is None else str(page.next))


# --- applied policies, at the command line


class PolicyChange(View):
    """A policy version, and when and by whom it was put into force."""

    version: str
    applied_at: Moment
    by: str


class AppliedPolicies(View):
    """The policies of a tenant, and whether they were put into force just now."""

    tenant: str
    version: str
    changed: bool
    not_covered: dict[str, int] = Field(
        description="Indexes that do not lead to all people yet, with how many are left. Searches by them are refused."
    )


class FieldIndex(View):
    """An index of the catalogue, and whether it leads to all people."""

    name: str = Field(description="Field and kind, such as `profile.email:exact`.")
    state: Literal["complete", "building"]
    people: OmitIfNone[int] = Field(None, description="How many people are covered, while it is being built.")
    total: OmitIfNone[int] = Field(None, description="How many people there were when it began.")


class PolicyFinding(View):
    """A mistake in a policy folder."""

    file: str
    line: int
    code: str
    message: str
    remedy: str


class PolicyCheck(View):
    """The result of checking a policy folder; without findings, the folder has a version."""

    version: str | None
    findings: list[PolicyFinding]
    warnings: Annotated[list[PolicyFinding], Field(description="What loads, and is likely not meant.")]
    reach_everything: Annotated[
        list[str],
        Field(
            description="Roles that may write an e-mail address, to which codes for a person are sent, or merge people."
        ),
    ]


# --- the policies in force


class CatalogueField(View):
    """One field of the catalogue: its type, its categories, the views of it, and how it can be searched."""

    title: str
    type: str
    category: str
    dpv: str
    sensitivity: str
    special: bool
    high_risk: list[str]
    views: list[str]
    search: list[str]

    @classmethod
    def of(cls, field: model.Field) -> CatalogueField:
        """Show a field."""
        return cls(
            title=field.title,
            type=field.type,
            category=field.category,
            dpv=field.dpv,
            sensitivity=str(field.sensitivity),
            special=field.special,
            high_risk=[str(risk) for risk in field.high_risk],
            views=[CLEAR, *sorted(field.views)],
            search=[index.kind for index in field.indexes],
        )


class CatalogueCollection(View):
    """A collection of records; ``many`` if a person can have more than one record in it.

    ``ahead`` is how far ahead of the present ``occurred_at`` of a record may lie, as a duration of ISO 8601.
    """

    title: str
    many: bool
    ahead: OmitIfNone[str] = None
    fields: dict[str, CatalogueField]


class CatalogueView(View):
    """The collections and fields of the policies in force."""

    policy_version: str
    collections: dict[str, CatalogueCollection]

    @classmethod
    def of(cls, active: ActivePolicy) -> CatalogueView:
        """Show the catalogue of the policies in force."""
        collections = {
            collection.name: CatalogueCollection(
                title=collection.title,
                many=collection.many,
                ahead=str(collection.ahead) if collection.many else None,
                fields={field.name: CatalogueField.of(field) for field in collection.fields.values()},
            )
            for collection in active.policy_set.catalogue.collections.values()
        }
        return cls(policy_version=active.version, collections=collections)


class PurposeDetails(View):
    """A purpose: its legal basis, its owner and recipients, and the fields that it needs."""

    title: str
    description: str
    legal_basis: str
    article9: str | None
    owner: str
    recipients: tuple[str, ...]
    needs: tuple[str, ...]
    valid_from: date | None
    valid_until: date | None
    notice: str | None
    direct_marketing: bool
    sale_or_share: bool
    restriction: str | None


class PurposeList(View):
    """The purposes of the policies in force."""

    policy_version: str
    purposes: dict[str, PurposeDetails]

    @classmethod
    def of(cls, active: ActivePolicy) -> PurposeList:
        """Show the purposes of the policies in force."""
        purposes = {
            name: PurposeDetails.model_validate(purpose) for name, purpose in active.policy_set.purposes.items()
        }
        return cls(policy_version=active.version, purposes=purposes)


class NoticeTranslation(View):
    """The text of a notice in one language; ``digest`` is its address at `/v1/notices/{digest}`."""

    title: str
    digest: str


class NoticeVersion(View):
    """One version of a notice, with its translations.

    A version can be in force and good for no purpose, because a newer one replaces what it says.
    """

    title: str
    purposes: tuple[str, ...]
    material: bool
    valid_from: date | None
    in_force: bool
    current: Annotated[bool, Field(description="The newest version in force.")]
    good_for: Annotated[tuple[str, ...], Field(description="Purposes for which a consent to this version counts.")]
    language: Annotated[str, Field(description="The main language.")]
    languages: dict[str, NoticeTranslation]


class NoticeList(View):
    """All versions of all notices of the policies in force, by `name@version`."""

    policy_version: str
    notices: dict[str, NoticeVersion]


# --- the record of processing activities


class DataCategory(View):
    """Data of one category of the catalogue. Fields are named as in purposes.toml: with a view if only that is used.

    ``special`` marks a category of Art. 9(1) GDPR.
    """

    category: str
    special: bool
    fields: tuple[str, ...]


class RetentionPeriod(View):
    """How long data is retained for a purpose: ISO 8601 durations, for some fields another, and the reason."""

    keep: str
    since: str
    reason: str
    fields: dict[str, str]


class FieldUse(View):
    """How often one field was read, and of how many people; a person who was read ten times counts as ten."""

    field: str
    reads: int
    people: int
    first: Timestamp
    last: Timestamp


class DataReader(View):
    """A principal that read data, and what it read.

    Attributes:
        principal: its id.
        name: its name in the audit log.
        state: ``active``, ``disabled``, ``issuer`` for a person who signs in with an issuer's token, or ``unknown``.
        roles: its roles today; of people who sign in with a token the vault knows none.
        named: whether the purpose names it, or grants one of its roles.
    """

    principal: str
    name: str
    state: str
    roles: tuple[str, ...]
    named: bool
    reads: int
    people: int
    first: Timestamp
    last: Timestamp
    fields: tuple[FieldUse, ...]


class PurposeUse(View):
    """What a purpose was used for in the period: how many requests read, searched and wrote, and who read."""

    reads: int
    searches: int
    writes: int
    people: int
    first: Timestamp | None
    last: Timestamp | None
    readers: tuple[DataReader, ...]


class ProcessingActivity(View):
    """One purpose with all that Art. 30(1)(b) to (g) GDPR asks for, and its use."""

    purpose: str
    title: str
    description: str
    in_force: bool
    valid_from: date | None
    valid_until: date | None
    legal_basis: str
    legal_article: str
    law: str | None
    interest: str | None
    notice: str | None
    special_condition: str | None
    special_article: str | None
    owner: str
    data_subjects: tuple[str, ...]
    data: tuple[DataCategory, ...]
    recipients: tuple[str, ...]
    roles: tuple[str, ...]
    transfers: str
    retention: RetentionPeriod | None
    use: PurposeUse


class ProcessingFinding(View):
    """A difference between the declared and the real use of data, or data that no one seems to need.

    ``code`` is stable; ``fields`` and ``principal`` narrow the finding down, if it is not about the whole purpose.
    ``purpose`` is empty if it is about the whole record.
    """

    code: str
    purpose: str
    detail: str
    remedy: str
    fields: tuple[str, ...] = ()
    principal: str | None = None


class ControllerContact(View):
    """The data protection officer, or the representative in the Union (Art. 27 GDPR)."""

    name: str
    email: str
    address: str | None
    phone: str | None


class SupervisoryAuthority(View):
    """The supervisory authority that people may complain to (Art. 77 GDPR)."""

    name: str
    url: str
    email: str | None
    address: str | None
    phone: str | None


class ControllerDetails(View):
    """The controller (Art. 4(7) GDPR), as controller.toml states it; missing texts are empty."""

    name: str
    address: str
    country: str
    email: str
    phone: str
    url: str
    privacy_policy: str
    representative: ControllerContact | None
    dpo: ControllerContact | None
    authority: SupervisoryAuthority | None


class RecordPeriod(View):
    """The period of the audit log that was read, both ends included."""

    since: Timestamp
    until: Timestamp


class ProcessingRecord(View):
    """The record of processing activities; ``controller`` is null without controller.toml.

    ``audit`` is the audit entry of the record's creation.
    """

    tenant: str
    controller: ControllerDetails | None
    generated_at: Timestamp
    policy_version: str
    period: RecordPeriod
    activities: tuple[ProcessingActivity, ...]
    security: tuple[str, ...]
    findings: tuple[ProcessingFinding, ...]
    audit: UUID
