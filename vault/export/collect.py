"""Collect the content of a package about one subject (Arts. 15(1) and (2) and 20 GDPR)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vault.access.authorization import subject_not_found
from vault.catalogue.model import CLEAR
from vault.clock import from_microseconds, rfc3339
from vault.export.descriptions import PolicyDescriptions
from vault.export.disclosures import RecipientNames, aliases, merged_pseudonyms, recipients
from vault.export.schema import FORMAT, OWNED_SECTIONS, PORTABILITY, AnsweredRequest, PackageHead, Person
from vault.export.selection import WITHHELD, Grounds, Selection, mask_of
from vault.export.survey import RetainedValues, survey
from vault.export.translations import texts_in
from vault.lifecycle.personal_data import ExportContext

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.export.schema import Items
    from vault.export.survey import Survey
    from vault.export.translations import Texts
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Request
    from vault.storage.columns import AnyRow


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a package: the facts that fit into memory, and what is needed to stream the records.

    Attributes:
        keys: the subject's data keys.
        pseudonyms: of the subject and of the entries merged into it, in the audit log.
        retained: decides which values are exported. Records created after ``retained.now`` are not.
        names: of recipients.
        titles: of all purposes, by name.
        head: the facts.
    """

    services: Services
    tenant: TenantId
    subject: SubjectId
    keys: SubjectKeys
    pseudonyms: tuple[Pseudonym, ...]
    retained: RetainedValues
    grounds: Grounds
    selection: Selection
    names: RecipientNames
    texts: Texts
    titles: Mapping[str, str]
    head: PackageHead

    @property
    def portable(self) -> bool:
        """Return whether the package contains portable data only (Art. 20)."""
        return self.selection.portable


async def gather(services: Services, tenant: TenantId, subject: SubjectId, request: Request) -> Content:
    """Collect the present facts about a subject.

    Args:
        request: to be answered. Its kind selects all data or portable data; its language (``en``, ``de`` or ``fr``,
            otherwise English) is that of the texts.

    Raises:
        NotFound: the subject does not exist or was erased.
        CannotOpen: a sealed value does not open as part of its record.
    """
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    if keys is None:
        raise subject_not_found()
    policy_set, texts = services.policies.active(tenant).policy_set, texts_in(request.language)
    data = await _select(services, tenant, subject, request, services.clock.now())
    words = policy_set.words_in(texts.language)
    descriptions = PolicyDescriptions(policy_set, words, data.survey, data.grounds, data.selection)
    content = Content(
        services=services,
        tenant=tenant,
        subject=subject,
        keys=keys,
        pseudonyms=(data.row.pseudonym, *await merged_pseudonyms(services, tenant, subject)),
        retained=data.retained,
        grounds=data.grounds,
        selection=data.selection,
        names=await RecipientNames.load(services, tenant),
        texts=texts,
        titles={name: words.purpose(name, "title", purpose.title) for name, purpose in policy_set.purposes.items()},
        head=_head(policy_set, descriptions, request, data, texts.language),
    )
    return content if content.portable else await _add_access_facts(content, descriptions)


async def fields_shown(services: Services, tenant: TenantId, subject: SubjectId, request: Request) -> tuple[str, ...]:
    """List the fields that a package shows, with their views. A download records them in the audit log as disclosed.

    Raises:
        NotFound: the subject does not exist or was erased.
    """
    data = await _select(services, tenant, subject, request, services.clock.now())
    selection = data.selection
    names = sorted({whole for whole, source in data.survey.groups if selection.contains(whole, source)})
    masks = {whole: mask_of(selection.field(whole)) for whole in names}
    return tuple(f"{whole}.{mask or CLEAR}" for whole, mask in masks.items() if mask != WITHHELD)


@dataclass(frozen=True, slots=True)
class _SelectedData:
    """A subject's row, and the selection of the subject's values for a package."""

    row: AnyRow
    retained: RetainedValues
    survey: Survey
    grounds: Grounds
    selection: Selection


async def _select(
    services: Services, tenant: TenantId, subject: SubjectId, request: Request, now: datetime
) -> _SelectedData:
    async with services.data.reading() as connection:
        row = await services.subjects.person(connection, tenant, subject)
    if row is None or row.state == "erased":
        raise subject_not_found()
    policy_set = services.policies.active(tenant).policy_set
    retained = await RetainedValues.load(services, tenant, row, now)
    counted = await survey(services, tenant, retained)
    grounds = Grounds(policy_set, retained, counted)
    portable = request.kind == PORTABILITY
    selection = Selection(policy_set.catalogue, grounds, portable=portable, scope=request.scope)
    return _SelectedData(row, retained, counted, grounds, selection)


def _head(
    policy_set: PolicySet, descriptions: PolicyDescriptions, request: Request, data: _SelectedData, language: str
) -> PackageHead:
    collections, restricted = descriptions.collections(), data.retained.consent_state.restricted_at
    return PackageHead(
        format=FORMAT,
        kind=PORTABILITY if request.kind == PORTABILITY else "access",
        language=language,
        made_at=rfc3339(data.retained.now),
        request=AnsweredRequest(
            id=str(request.id),
            kind=request.kind,
            regime=request.regime,
            received_at=rfc3339(request.received_at),
        ),
        controller=policy_set.controller if policy_set.controller.stated else None,
        person=Person(
            id=str(data.row.id),
            since=rfc3339(data.row.created_at),
            restricted_since=None if restricted is None else rfc3339(from_microseconds(restricted)),
        ),
        policies=policy_set.version,
        counts={
            "values": descriptions.values,
            "records": sum(collection.records for collection in collections.values()),
        },
        collections=collections,
        fields=descriptions.fields(),
        categories=descriptions.categories(),
        purposes=descriptions.purposes(),
        sources=descriptions.sources(),
    )


async def _add_access_facts(content: Content, descriptions: PolicyDescriptions) -> Content:
    """Add what only an access package contains: recipients, conclusions, rights, and what each owner exports."""
    services, tenant, subject, selection = content.services, content.tenant, content.subject, content.selection
    recipient_sums, times = await recipients(services, tenant, content.pseudonyms, content.names)
    package = ExportContext(
        services=services,
        tenant=tenant,
        subject=subject,
        keys=content.keys,
        language=content.texts.language,
        is_requested=selection.is_requested,
        is_about_others=lambda field: mask_of(selection.field(field)) is not None,
    )
    sections: dict[str, Items] = {}
    for owner in services.personal_data:
        for name, items in (await owner.export(package)).items():
            sections[name] = (*sections.get(name, ()), *items)

    head = replace(
        content.head,
        person=replace(content.head.person, aliases=await aliases(services, tenant, subject)),
        counts={**content.head.counts, "accesses": times},
        recipients=recipient_sums,
        inferred=descriptions.inferred(),
        **{name: sections.pop(name, ()) for name in OWNED_SECTIONS},
        more=sections,
        rights=content.texts.rights,
    )
    return dataclasses.replace(content, head=head)
