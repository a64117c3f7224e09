"""What an import is about: handed to every process that takes part, and what each makes of it.

Whether the policies let a file's fields be written for its purpose: steps 2 to 4 and 7 of every operation.

Step 5, casbin's, is about the roles of a caller who might overreach. Whoever works at the console holds the root key,
as everywhere in :mod:`vault.governance.tenants`; purpose limitation binds them all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import audit_entry
from vault.access.callers import operator_caller
from vault.catalogue.toml_document import did_you_mean
from vault.clock import to_microseconds
from vault.consent.legal_ground import Ground, refusal, subject_refusal
from vault.consent.state import NOTHING
from vault.errors import Denied, Fault, InvalidInput, Refusal
from vault.imports.lines import LineMaker, needed
from vault.imports.readers import open_reader
from vault.policy.decision import rule_out
from vault.subjects.record_body import Origin
from vault.subjects.rows import EXTERNAL_IDS, Maker
from vault.subjects.store import PROFILE
from vault.subjects.validation import policy_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.imports.mapping import FileMapping
    from vault.imports.reader import Reader
    from vault.policy.store import ActivePolicy
    from vault.subjects.store import Found


class Grant(NamedTuple):
    """What may be written: the fields as declared, their whole names for the audit log, and what decides it."""

    declared: Mapping[str, Field]
    names: tuple[str, ...]
    policy: str
    ground: Ground


async def permit(services: Services, caller: Caller, mapping: FileMapping, purpose: str) -> Grant:
    """Ask the policies whether all fields of a mapping may be written.

    Raises:
        InvalidInput: the purpose, the collection or a field does not exist.
        Denied: the purpose does not need a field, lacks the condition of Art. 9(2), or rests on consent; that is on
            the audit log before it is raised.
    """
    active = services.policies.active(caller.tenant)
    policy_set = active.policy_set
    declared = declared_fields(policy_set.catalogue, mapping)
    why = policy_set.purposes.get(purpose)
    if why is None:
        remedy = did_you_mean(purpose, policy_set.purposes, "purposes.toml lists them")
        raise InvalidInput("there is no such purpose", code="unknown-purpose", hint=remedy)
    views = {name: policy_set.catalogue.view(name) for name in policy_names(mapping.collection, declared)}
    refused = _refusals(services, why, views)
    if refused:
        await _deny(services, caller, active, purpose, views, refused)
    return Grant(declared, tuple(view.name for view in views.values()), active.version, Ground.of(why, ()))


def declared_fields(catalogue: Catalogue, mapping: FileMapping) -> dict[str, Field]:
    """Look up the fields of a mapping, the one for external ids included.

    Raises:
        InvalidInput: the catalogue has no such collection or field, or only the vault itself writes it.
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
    if mapping.collection == PROFILE:
        declared[EXTERNAL_IDS] = catalogue.field(EXTERNAL_IDS)
    return declared


def _refusals(services: Services, why: Purpose, views: Mapping[str, FieldView]) -> dict[str, Refusal]:
    day = services.clock.now().date()
    verdicts = {name: rule_out(why, view, "write", day) for name, view in views.items()}
    refused = {name: Refusal(each.code, each.detail, each.rule) for name, each in verdicts.items() if each is not None}
    # An import cannot show anybody's consent: what rests on it comes in with the consent itself, person by person.
    lacking = refusal(Ground.of(why, ()), NOTHING, 0)
    return refused or (dict.fromkeys(views, lacking) if lacking is not None else {})


async def _deny(
    services: Services,
    caller: Caller,
    active: ActivePolicy,
    purpose: str,
    views: Mapping[str, FieldView],
    refused: dict[str, Refusal],
) -> None:
    made = audit_entry(
        services,
        caller,
        action="import",
        decision="denied",
        purpose=purpose,
        refused={views[name].name: refusal.code for name, refusal in refused.items()},
        rule=next(iter(refused.values())).rule,
        policy=active.version,
    )
    await services.audit_log.append(made)
    raise Denied(
        "some of the fields may not be imported for this purpose: " + ", ".join(refused),
        denied=refused,
        audit=str(made.id),
        hint=next(iter(refused.values())).detail,
    )


class Task(NamedTuple):
    """One import of one file, in words that may travel to another process: no value and no key is in them.

    ``run`` is none for a dry run.
    """

    path: Path
    mapping: FileMapping
    tenant: TenantId
    purpose: str
    source: str
    started_at: datetime
    run: UUID | None


@dataclass(frozen=True, slots=True)
class Work:
    """A task, made ready in this process: the open file, what the policies say, the tenant's index keys."""

    services: Services
    caller: Caller
    task: Task
    reader: Reader
    maker: LineMaker
    grant: Grant
    fields: Mapping[str, Field]
    rows: Maker
    origin: Origin

    @property
    def tenant(self) -> TenantId:
        """Return the tenant whose people they are."""
        return self.task.tenant

    def stopped(self, person: Found) -> Refusal | None:
        """Say why nothing may be written about a person who is there: a restriction, or an objection."""
        return subject_refusal(person, self.grant.ground, to_microseconds(self.services.clock.now()))


async def make_ready(services: Services, task: Task) -> Work:
    """Open the file and ask the policies.

    Raises:
        InvalidInput: the file or the mapping does not have its form, or names what does not exist.
        Denied: the purpose does not let these fields be written.
    """
    caller = operator_caller(task.tenant)
    grant = await permit(services, caller, task.mapping, task.purpose)
    reader = open_reader(task.mapping, task.path, needed(task.mapping))
    index_keys = await services.keyring.index_keys(task.tenant)
    return Work(
        services,
        caller,
        task,
        reader,
        LineMaker(task.mapping, grant.declared, reader),
        grant,
        grant.declared,
        # Everything of an import is of one moment, whenever its chunks come to be written.
        Maker(task.tenant, index_keys, task.started_at),
        Origin(task.source, task.started_at, task.purpose),
    )
