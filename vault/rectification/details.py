"""The details of a request for rectification, checked against the catalogue when it is submitted. Pure.

A rectification contains one or more of these::

    {"changes": {"email": "new@example.org", "salutation": null}}
    {"records": [{"collection": "purchase", "id": "0199…", "fields": {"amount": "12.90"}}]}
    {"dispute": "I never lived there.", "fields": ["address"], "restrict": true}
    {"statement": "I go by my second name."}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from vault.errors import Fault, InvalidInput
from vault.subjects.store import PROFILE
from vault.subjects.validation import fields_of, normalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.catalogue.model import Catalogue, Scope
    from vault.policy.policy_set import PolicySet


MOST_RECORDS: Final = 100
"""Records that one request corrects."""
TEXTS: Final = ("reason", "statement", "dispute")
KEYS: Final = ("changes", "records", "fields", "restrict")


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of one record: a JSON merge patch, and its JSON pointer in the request."""

    collection: str
    record: UUID | None
    patch: Mapping[str, Any]
    at: str


def corrections_of(details: Mapping[str, Any]) -> list[Correction]:
    """Return the corrections: of the profile first, then of records in the order of the request."""
    corrections = []
    if details.get("changes"):
        corrections.append(Correction(PROFILE, None, details["changes"], "/details/changes"))
    for position, record in enumerate(details.get("records") or ()):
        at = f"/details/records/{position}/fields"
        corrections.append(Correction(record["collection"], UUID(record["id"]), record["fields"], at))
    return corrections


def disputed_fields(catalogue: Catalogue, names: Iterable[Any]) -> list[str]:
    """Return the names of disputed fields, within the profile and without duplicates.

    Raises:
        InvalidInput: there is none, or one is no field of the profile.
    """
    profile = catalogue.collections[PROFILE].fields
    short = [name.removeprefix(f"{PROFILE}.") if isinstance(name, str) else "" for name in names]
    wrong = [position for position, name in enumerate(short, 1) if name not in profile]
    if wrong or not short:
        detail = f"name {wrong[0]} is no field of the profile" if wrong else "name at least one field of the profile"
        raise InvalidInput(
            "a dispute is about fields of the profile",
            faults=[Fault("/fields", "unknown-field", detail)],
            code="unknown-field",
        )
    return list(dict.fromkeys(short))


def details_faults(policy_set: PolicySet, _scope: Scope, details: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for everything in the details that cannot be carried out."""
    if not any(details.get(name) for name in ("changes", "records", "dispute", "statement")):
        detail = "Say what is to be corrected (`changes`, `records`), or what is wrong (`dispute`, `statement`)."
        return [Fault("/details", "missing", detail)]
    faults = _shape_faults(details)
    if faults:
        return faults
    for correction in corrections_of(details):
        faults += _correction_faults(policy_set.catalogue, correction)
    if details.get("dispute"):
        try:
            disputed_fields(policy_set.catalogue, details.get("fields") or ())
        except InvalidInput as error:
            faults += [Fault(f"/details{fault.at}", fault.code, fault.detail) for fault in error.faults]
    return faults


def _shape_faults(details: Mapping[str, Any]) -> list[Fault]:
    """Check the types, on which the other checks rely."""
    faults = []
    if not isinstance(details.get("changes") or {}, dict):
        faults.append(Fault("/details/changes", "wrong-type", "an object of fields of the profile"))
    if not isinstance(details.get("fields") or [], list):
        faults.append(Fault("/details/fields", "wrong-type", "a list of names of fields"))
    if not isinstance(details.get("restrict") or False, bool):
        faults.append(Fault("/details/restrict", "wrong-type", "true or false"))
    records = details.get("records") or []
    if not isinstance(records, list) or len(records) > MOST_RECORDS:
        return [*faults, Fault("/details/records", "wrong-type", f"a list of at most {MOST_RECORDS} records")]
    return faults + [
        Fault(f"/details/records/{position}", "wrong-type", "an object with `collection`, `id` and `fields`")
        for position, record in enumerate(records)
        if not _is_record(record)
    ]


def _is_record(given: object) -> bool:
    return (
        isinstance(given, dict)
        and given.keys() == {"collection", "id", "fields"}
        and isinstance(given["collection"], str)
        and isinstance(given["fields"], dict)
        and _is_id(given["id"])
    )


def _is_id(given: object) -> bool:
    try:
        return isinstance(given, str) and str(UUID(given)) == given
    except ValueError:
        return False


def _correction_faults(catalogue: Catalogue, correction: Correction) -> list[Fault]:
    """Check one correction against the catalogue; whether the record exists is checked when it is corrected."""
    collection = catalogue.collections.get(correction.collection)
    if collection is None or collection.many is (correction.record is None):
        at = correction.at.removesuffix("/fields") + "/collection"
        return [Fault(at, "unknown-collection", "The catalogue declares no such collection of records.")]
    try:
        fields = fields_of(catalogue, correction.collection, correction.patch, at=correction.at)
        whole = {name: value for name, value in correction.patch.items() if not _is_partial(value)}
        normalised(fields, whole, at=correction.at)
    except InvalidInput as error:
        return list(error.faults)
    return []


def _is_partial(value: object) -> bool:
    """Return whether a value needs the stored one to be complete: null, or a patch of an object."""
    return value is None or isinstance(value, dict)
