"""The task of an import, and what a process needs to work on it: the open file and the authorization to write.

An import has the steps 2 to 4 and 7 of every operation: fields, purpose, legal ground and audit. It has no role check:
it runs on the command line, whose user has the root key. Purpose limitation applies nevertheless.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.access.authorization import audit_entry
from vault.access.callers import operator_caller
from vault.catalogue.toml_document import did_you_mean
from vault.catalogue.types import TYPES
from vault.clock import to_microseconds
from vault.consent.legal_ground import Ground, refusal, subject_refusal
from vault.consent.model import NOTHING
from vault.errors import Denied, Fault, InvalidInput, Refusal, Unavailable
from vault.imports.lines import Bounds, LineParser, needed_columns
from vault.imports.mapping import as_cell
from vault.imports.readers import open_reader
from vault.policy.decision import rule_out
from vault.subjects.rows import EXTERNAL_IDS, Maker, Origin
from vault.subjects.store import GONE, PROFILE
from vault.subjects.validation import policy_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.context import Caller, Services
    from vault.ids import SubjectId, TenantId
    from vault.imports.mapping import FileMapping
    from vault.imports.readers import Reader
    from vault.subjects.store import StoredSubject


@dataclass(frozen=True, slots=True)
class WriteGrant:
    """The authorization to write the fields of a mapping.

    Attributes:
        declared: the fields, as the catalogue declares them.
        names: their whole names, for the audit log.
        policy: the version of the policies that grants it.
        ground: the legal ground.
    """

    declared: Mapping[str, Field]
    names: tuple[str, ...]
    policy: str
    ground: Ground


async def authorize(services: Services, caller: Caller, mapping: FileMapping, purpose_name: str) -> WriteGrant:
    """Check that the policies allow writing all fields of a mapping for a purpose.

    Raises:
        InvalidInput: the purpose, the collection or a field does not exist.
        Denied: the purpose does not need a field, lacks a condition of Art. 9(2), or rests on consent; recorded in the
            audit log.
    """
    active = services.policies.active(caller.tenant)
    policy_set = active.policy_set
    declared = declared_fields(policy_set.catalogue, mapping)
    purpose = policy_set.purposes.get(purpose_name)
    if purpose is None:
        remedy = did_you_mean(purpose_name, policy_set.purposes, "purposes.toml lists them")
        raise InvalidInput("there is no such purpose", code="unknown-purpose", hint=remedy)
    views = {name: policy_set.catalogue.view(name) for name in policy_names(mapping.collection, declared)}
    refused = _refusals(services, purpose, views)
    if refused:
        await _deny(services, caller, purpose_name, views, refused)
    return WriteGrant(declared, tuple(view.name for view in views.values()), active.version, Ground.of(purpose, ()))


def declared_fields(catalogue: Catalogue, mapping: FileMapping) -> dict[str, Field]:
    """Return the declared fields of a mapping, including the field of external ids.

    Raises:
        InvalidInput: the catalogue has no such collection or field, or only the vault itself writes the field.
    """
    collection = catalogue.collections.get(mapping.collection)
    if collection is None:
        remedy = did_you_mean(mapping.collection, catalogue.collections, "catalogue.toml lists them")
        raise InvalidInput("the mapping names an unknown collection", code="unknown-collection", hint=remedy)
    known = {name: field for name, field in collection.fields.items() if not field.system}
    faults = [
        Fault(f"/fields/{name}", "unknown-field", did_you_mean(name, known, "catalogue.toml lists the fields"))
        for name in mapping.fields
        if name not in known
    ]
    if faults:
        raise InvalidInput("the mapping names unknown fields", faults=faults, code="unknown-field")
    declared = {name: known[name] for name in mapping.fields}
    faults = [
        Fault(f"/fields/{name}", "wrong-cell", "`region` goes with a field of telephone numbers")
        for name, spec in mapping.fields.items()
        if as_cell(spec).region is not None and "region" not in TYPES[known[name].type].options
    ]
    if faults:
        raise InvalidInput("the mapping is inconsistent", faults=faults, code="mapping-invalid")
    if mapping.collection == PROFILE:
        declared[EXTERNAL_IDS] = catalogue.field(EXTERNAL_IDS)
    return declared


def _refusals(services: Services, purpose: Purpose, views: Mapping[str, FieldView]) -> dict[str, Refusal]:
    day = services.clock.now().date()
    verdicts = {name: rule_out(purpose, view, "write", day) for name, view in views.items()}
    refused = {
        name: Refusal(verdict.code, verdict.detail, verdict.rule)
        for name, verdict in verdicts.items()
        if verdict is not None
    }
    # An import cannot prove consent. Data that rests on consent is written together with the consent, per subject.
    missing_consent = refusal(Ground.of(purpose, ()), NOTHING, 0)
    return refused or (dict.fromkeys(views, missing_consent) if missing_consent is not None else {})


async def _deny(
    services: Services, caller: Caller, purpose: str, views: Mapping[str, FieldView], refused: dict[str, Refusal]
) -> None:
    first = next(iter(refused.values()))
    entry = audit_entry(
        services,
        caller,
        action="import",
        decision="denied",
        purpose=purpose,
        refused={views[name].name: refusal.code for name, refusal in refused.items()},
        rule=first.rule,
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(entry)
    raise Denied(
        "some of the fields may not be imported for this purpose: " + ", ".join(refused),
        denied=refused,
        audit=str(entry.id),
        hint=first.detail,
    )


@dataclass(frozen=True, slots=True)
class ImportTask:
    """One import of one file. It is sent to other processes, so it contains no value and no key.

    ``run`` is None for a dry run.
    """

    path: Path
    mapping: FileMapping
    tenant: TenantId
    purpose: str
    source: str
    started_at: datetime
    run: UUID | None = None


@dataclass(frozen=True, slots=True)
class ImportContext:
    """A task in a process that works on it: the open file, the authorization, and the tenant's index keys."""

    services: Services
    caller: Caller
    task: ImportTask
    reader: Reader
    parser: LineParser
    grant: WriteGrant
    rows: Maker
    origin: Origin

    @property
    def tenant(self) -> TenantId:
        """Return the tenant."""
        return self.task.tenant

    @property
    def fields(self) -> Mapping[str, Field]:
        """Return the declared fields of the mapping."""
        return self.grant.declared

    def refusal(self, subject: StoredSubject) -> Refusal | None:
        """Return why nothing may be written about an existing subject (restriction or objection), if so."""
        return subject_refusal(subject, self.grant.ground, to_microseconds(self.services.clock.now()))

    def require_unchanged(self, subjects: Iterable[SubjectId], rows: Mapping[SubjectId, StoredSubject]) -> None:
        """Require that subjects who were found before still exist and may be written about, by their locked rows.

        Raises:
            Unavailable: one was merged, erased, or stopped this purpose. The next attempt compares the chunk again, and
                refuses the lines about that person.
        """
        for subject in subjects:
            row = rows.get(subject)
            if row is None or row.state in GONE or self.refusal(row) is not None:
                raise Unavailable("a person in the file was erased, merged or restricted, or objected, at this moment")


async def _name_of_file(services: Services, task: ImportTask) -> str:
    """Return a name that a file has by its content; keyed, since a small file could be guessed from a plain digest."""
    with task.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    return (await services.keyring.token_key(task.tenant)).digest("import-file", content).hex()[:16]


async def open_import(services: Services, task: ImportTask) -> ImportContext:
    """Check the authorization and open the file.

    Raises:
        InvalidInput: the file or the mapping is invalid, or names what does not exist.
        Denied: the purpose does not allow writing these fields.
    """
    caller = operator_caller(task.tenant)
    grant = await authorize(services, caller, task.mapping, task.purpose)
    reader = open_reader(task.mapping, task.path, needed_columns(task.mapping))
    collection = services.policies.active(task.tenant).policy_set.catalogue.collections[task.mapping.collection]
    file = "" if task.mapping.unnumbered is None else await _name_of_file(services, task)
    bounds = Bounds(collection.ahead.after(task.started_at), task.started_at.date(), file)
    return ImportContext(
        services,
        caller,
        task,
        reader,
        LineParser(task.mapping, grant.declared, reader, bounds),
        grant,
        # All rows of an import have the time at which it started, whenever their chunk is written.
        await Maker.of(services.keyring, task.tenant, task.started_at),
        Origin(task.source, task.started_at, task.purpose),
    )
