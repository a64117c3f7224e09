"""Gather all that Art. 15(1) and (2) GDPR ask for, or Art. 20, about one person: what the package is made of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND
from vault.catalogue.model import CLEAR
from vault.clock import from_microseconds, rfc3339
from vault.consent.state import unpack
from vault.errors import NotFound
from vault.export.descriptions import Teller
from vault.export.disclosures import Names, recipients
from vault.export.history import aliases, corrections, history, merged_pseudonyms, requests
from vault.export.schema import FORMAT, Asked, Head, Person, RightTold
from vault.export.selection import WITHHELD, Grounds, Selection, mask_of
from vault.export.survey import Still, survey
from vault.export.translations import texts_in
from vault.subjects.tables import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.consent.state import ConsentState
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.export.schema import CorrectionTold
    from vault.export.survey import Survey
    from vault.export.translations import Texts
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Request


@dataclass(frozen=True, slots=True)
class Content:
    """What a package is made of: the facts that fit into memory, and what it takes to stream the others.

    Attributes:
        keys: the person's.
        pseudonyms: stand for the person on the audit log, those of entries that were merged too.
        moment: what came after it is not in the package.
        still: what of the person is still kept.
        names: of recipients.
        titles: of all purposes, by name.
        head: the facts.
    """

    services: Services
    tenant: TenantId
    subject: SubjectId
    keys: SubjectKeys
    pseudonyms: tuple[Pseudonym, ...]
    moment: datetime
    still: Still
    grounds: Grounds
    selection: Selection
    names: Names
    texts: Texts
    titles: Mapping[str, str]
    head: Head

    @property
    def portable(self) -> bool:
        """Tell whether it holds only what people may take along (Art. 20)."""
        return self.selection.portable


async def gather(
    services: Services, tenant: TenantId, subject: SubjectId, request: Request, *, portable: bool, language: str
) -> Content:
    """Gather the facts about a person as things stand now.

    Args:
        subject: about whom.
        request: the one that the package answers.
        portable: only what people may take along (Art. 20).
        language: of the texts for people: ``en``, ``de`` or ``fr``; any other is answered in English.

    Raises:
        NotFound: there is no such person, or no longer.
        CannotOpen: a sealed value does not open at its place.
    """
    now = services.clock.now()
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    if keys is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    policy_set, texts = services.policies.active(tenant).policy_set, texts_in(language)
    chosen = await _choose(services, tenant, subject, request, now, portable=portable)
    row, standing, still, found, grounds, selection = chosen
    words = policy_set.words_in(texts.language)
    teller = Teller(policy_set, words, found, grounds, selection)
    content = Content(
        services=services,
        tenant=tenant,
        subject=subject,
        keys=keys,
        pseudonyms=(row.pseudonym, *await merged_pseudonyms(services, tenant, subject)),
        moment=now,
        still=still,
        grounds=grounds,
        selection=selection,
        names=await Names.registered(services, tenant),
        texts=texts,
        titles={name: words.purpose(name, "title", each.title) for name, each in policy_set.purposes.items()},
        head=_head(policy_set, teller, request, _person(row, standing), texts.language, now, portable=portable),
    )
    return content if portable else await _with_all_of_access(content, policy_set, teller)


async def fields_shown(
    services: Services, tenant: TenantId, subject: SubjectId, request: Request, *, portable: bool
) -> tuple[str, ...]:
    """Name the fields that a package shows, with their views: for the audit log, where whoever fetches it saw them.

    Raises:
        NotFound: there is no such person, or no longer.
    """
    chosen = await _choose(services, tenant, subject, request, services.clock.now(), portable=portable)
    selection = chosen.selection
    names = sorted({whole for whole, source in chosen.survey.groups if selection.holds(whole, source)})
    masks = {whole: mask_of(selection.field(whole)) for whole in names}
    return tuple(f"{whole}.{mask or CLEAR}" for whole, mask in masks.items() if mask != WITHHELD)


class _Chosen(NamedTuple):
    """A person's row and what they said, what there is of them, and what of it belongs into a package."""

    row: Any
    standing: ConsentState
    still: Still
    survey: Survey
    grounds: Grounds
    selection: Selection


async def _choose(
    services: Services, tenant: TenantId, subject: SubjectId, request: Request, now: datetime, *, portable: bool
) -> _Chosen:
    row = await _row(services, tenant, subject)
    if row is None or row.state == "erased":
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    policy_set, standing = services.policies.active(tenant).policy_set, unpack(row.standing)
    retained = row.state == "retained"
    still = await Still.of(services, tenant, subject, policy_set, standing, now, retained=retained)
    found = await survey(services, tenant, subject, now, still)
    grounds = Grounds(policy_set, standing, found, now, still.clocks, retained=retained)
    selection = Selection(policy_set.catalogue, grounds, portable=portable, scope=request.scope)
    return _Chosen(row, standing, still, found, grounds, selection)


async def _row(services: Services, tenant: TenantId, subject: SubjectId) -> Any:
    statement = SUBJECT.select().where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    async with services.data.reading() as connection:
        return (await connection.execute(statement)).one_or_none()


def _person(row: Any, standing: ConsentState) -> Person:
    restricted = standing.restricted_at
    return Person(
        id=str(row.id),
        since=rfc3339(row.created_at),
        restricted_since=None if restricted is None else rfc3339(from_microseconds(restricted)),
    )


def _head(
    policy_set: PolicySet,
    teller: Teller,
    request: Request,
    person: Person,
    language: str,
    now: datetime,
    *,
    portable: bool,
) -> Head:
    collections = teller.collections()
    return Head(
        format=FORMAT,
        kind="portability" if portable else "access",
        language=language,
        made_at=rfc3339(now),
        request=Asked(
            id=str(request.id),
            kind=request.kind,
            regime=request.regime,
            received_at=rfc3339(request.received_at),
        ),
        controller=policy_set.controller if policy_set.controller.stated else None,
        person=person,
        policies=policy_set.version,
        counts={"values": teller.values, "records": sum(each.records for each in collections.values())},
        collections=collections,
        fields=teller.fields(),
        categories=teller.categories(),
        purposes=teller.purposes(),
        sources=teller.sources(),
    )


async def _with_all_of_access(content: Content, policy_set: PolicySet, teller: Teller) -> Content:
    """Add what only access tells of: who received the data, and what was said, concluded, asked and corrected."""
    services, tenant, subject, keys = content.services, content.tenant, content.subject, content.keys
    readers, times = await recipients(services, tenant, content.pseudonyms, content.names)
    head = replace(
        content.head,
        person=replace(content.head.person, aliases=await aliases(services, tenant, subject)),
        counts={**content.head.counts, "accesses": times},
        recipients=readers,
        history=await history(services, tenant, subject, keys, policy_set.notices, content.texts.language),
        inferred=teller.inferred(),
        requests=await requests(services, tenant, subject),
        corrections=tuple(
            _masked(content.selection, each)
            for each in await corrections(services, tenant, subject, keys)
            if content.selection.asked_for(each.field)
        ),
        rights=tuple(
            RightTold(article=article, title=title, text=text) for article, title, text in content.texts.rights
        ),
    )
    return dataclasses.replace(content, head=head)


def _masked(selection: Selection, correction: CorrectionTold) -> CorrectionTold:
    """Leave out what was corrected of somebody else (Art. 15(4))."""
    about_others = mask_of(selection.field(correction.field)) is not None
    return replace(correction, details=None) if about_others else correction
