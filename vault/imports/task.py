"""Whether the policies let a file's fields be written for its purpose: steps 2 to 4 and 7 of every operation.

Step 5, casbin's, is about the roles of a caller who might overreach. Whoever works at the console holds the root key,
as everywhere in :mod:`vault.governance.tenants`; purpose limitation binds them all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import entry
from vault.catalogue.findings import did_you_mean
from vault.consent.legal_ground import Ground, refusal
from vault.consent.state import NOTHING
from vault.errors import Denied, Fault, InvalidInput, Refusal
from vault.policy.decision import rule_out
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.store import PROFILE
from vault.subjects.validation import policy_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.context import Caller, House
    from vault.imports.mapping import FileMapping
    from vault.policy.store import ActivePolicy


class Grant(NamedTuple):
    """What may be written: the fields as declared, their whole names for the audit log, and what decides it."""

    declared: Mapping[str, Field]
    names: tuple[str, ...]
    policy: str
    ground: Ground


async def permit(house: House, caller: Caller, mapping: FileMapping, purpose: str) -> Grant:
    """Ask the policies whether all fields of a mapping may be written.

    Raises:
        InvalidInput: the purpose, the collection or a field does not exist.
        Denied: the purpose does not need a field, lacks the condition of Art. 9(2), or rests on consent; that is on
            the audit log before it is raised.
    """
    active = house.policies.active(caller.tenant)
    policy_set = active.policy_set
    declared = declared_fields(policy_set.catalogue, mapping)
    why = policy_set.purposes.get(purpose)
    if why is None:
        remedy = did_you_mean(purpose, policy_set.purposes, "purposes.toml lists them")
        raise InvalidInput("there is no such purpose", code="unknown-purpose", hint=remedy)
    views = {name: policy_set.catalogue.view(name) for name in policy_names(mapping.collection, declared)}
    refused = _refusals(house, why, views)
    if refused:
        await _deny(house, caller, active, purpose, views, refused)
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


def _refusals(house: House, why: Purpose, views: Mapping[str, FieldView]) -> dict[str, Refusal]:
    day = house.clock.now().date()
    verdicts = {name: rule_out(why, view, "write", day) for name, view in views.items()}
    refused = {name: Refusal(each.code, each.detail, each.rule) for name, each in verdicts.items() if each is not None}
    # An import cannot show anybody's consent: what rests on it comes in with the consent itself, person by person.
    lacking = refusal(Ground.of(why, ()), NOTHING, 0)
    return refused or (dict.fromkeys(views, lacking) if lacking is not None else {})


async def _deny(
    house: House,
    caller: Caller,
    active: ActivePolicy,
    purpose: str,
    views: Mapping[str, FieldView],
    refused: dict[str, Refusal],
) -> None:
    made = entry(
        house,
        caller,
        action="import",
        decision="denied",
        purpose=purpose,
        refused={views[name].name: refusal.code for name, refusal in refused.items()},
        rule=next(iter(refused.values())).rule,
        policy=active.version,
    )
    await house.ledger.append(made)
    raise Denied(
        "some of the fields may not be imported for this purpose: " + ", ".join(refused),
        denied=refused,
        audit=str(made.id),
        hint=next(iter(refused.values())).detail,
    )
