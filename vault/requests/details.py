"""What a request to rectify, restrict, object or review says, checked against the catalogue when it comes in. Pure.

A rectification says one or more of these::

    {"changes": {"email": "new@example.org", "salutation": null}}
    {"records": [{"collection": "purchase", "id": "0199…", "fields": {"amount": "12.90"}}]}
    {"dispute": "I never lived there.", "fields": ["address"], "restrict": true}
    {"statement": "I go by my second name."}

All faults are told at once, and no value in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args
from uuid import UUID

from vault.consent.evidence import words_fault
from vault.consent.restrictions import Ground
from vault.errors import Fault, InvalidInput
from vault.requests.execution import may_object_to
from vault.subjects.store import PROFILE
from vault.subjects.validation import fields_of, normalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.catalogue.model import Catalogue
    from vault.catalogue.scope import Scope
    from vault.policy.policy_set import PolicySet

MOST_RECORDS: Final = 100
"""Records that one request corrects."""
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "rectification": frozenset({"changes", "records", "dispute", "fields", "restrict", "statement", "reason"}),
    # What staff keep from an erasure stands in its details too: that is for them to say, and for nobody who asks.
    "erasure": frozenset({"statement", "reason"}),
    "restriction": frozenset({"ground", "reason"}),
    "objection": frozenset({"reason"}),
    "withdrawal": frozenset({"reason"}),
    "review": frozenset({"statement", "reason"}),
}
"""What each kind of request may say; of the other kinds there is nothing to check here."""


class Correction(NamedTuple):
    """What is to be corrected in one record: a merge patch, and where it stood in the request."""

    collection: str
    record: UUID | None
    patch: Mapping[str, Any]
    at: str


def check_details(policy_set: PolicySet, kind: str, scope: Scope, details: Mapping[str, Any]) -> None:
    """Check what came in with a request, before it is kept.

    Args:
        policy_set: in force.
        kind: of the request; kinds that say nothing of their own pass.
        scope: of the request.
        details: what came in.

    Raises:
        InvalidInput: with a fault for everything that cannot be carried out as it stands.
    """
    if kind not in _KEYS:
        return
    faults = [
        Fault("/details", "unknown-field", f"key {position} says nothing that a request of this kind can say")
        for position, name in enumerate(details, 1)
        if name not in _KEYS[kind]
    ]
    for name in ("reason", "statement", "dispute"):
        faults += _word_faults(details.get(name), at=f"/details/{name}")
    if kind == "rectification":
        faults += _rectification_faults(policy_set.catalogue, details)
    elif kind == "restriction" and details.get("ground") not in get_args(Ground):
        detail = f"One of {', '.join(get_args(Ground))} (Art. 18(1)(a) to (d))."
        faults.append(Fault("/details/ground", "unknown-code", detail))
    elif kind == "objection":
        faults += _objection_faults(policy_set, scope)
    elif kind == "withdrawal":
        faults += _withdrawal_faults(policy_set, scope)
    if faults:
        raise InvalidInput("the request cannot be carried out as it stands", faults=faults, code="invalid-details")


def corrections_of(details: Mapping[str, Any]) -> list[Correction]:
    """List what is to be corrected, record by record: the profile's first, then in the order of the request."""
    found = []
    if details.get("changes"):
        found.append(Correction(PROFILE, None, details["changes"], "/details/changes"))
    for position, each in enumerate(details.get("records") or ()):
        at = f"/details/records/{position}/fields"
        found.append(Correction(each["collection"], UUID(each["id"]), each["fields"], at))
    return found


def disputed_fields(catalogue: Catalogue, names: Iterable[Any]) -> list[str]:
    """Name the fields that a dispute is about, each within the profile and once.

    Raises:
        InvalidInput: one of them is no field of the profile.
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


def _rectification_faults(catalogue: Catalogue, details: Mapping[str, Any]) -> list[Fault]:
    if not any(details.get(name) for name in ("changes", "records", "dispute", "statement")):
        detail = "Say what is to be corrected (`changes`, `records`), or what is wrong (`dispute`, `statement`)."
        return [Fault("/details", "missing", detail)]
    faults = _shape_faults(details)
    if faults:
        return faults
    for each in corrections_of(details):
        faults += _correction_faults(catalogue, each)
    if details.get("dispute"):
        try:
            disputed_fields(catalogue, details.get("fields") or ())
        except InvalidInput as error:
            faults += [Fault(f"/details{fault.at}", fault.code, fault.detail) for fault in error.faults]
    return faults


def _shape_faults(details: Mapping[str, Any]) -> list[Fault]:
    """Check the outer form, so that the rest may rely on it."""
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
        for position, each in enumerate(records)
        if not _is_record(each)
    ]


def _is_record(given: Any) -> bool:
    return (
        isinstance(given, dict)
        and given.keys() == {"collection", "id", "fields"}
        and isinstance(given["collection"], str)
        and isinstance(given["fields"], dict)
        and _is_id(given["id"])
    )


def _is_id(given: Any) -> bool:
    try:
        return isinstance(given, str) and str(UUID(given)) == given
    except ValueError:
        return False


def _correction_faults(catalogue: Catalogue, correction: Correction) -> list[Fault]:
    """Check one correction as far as the catalogue tells; whether there is such a record shows when it is made."""
    known = catalogue.collections.get(correction.collection)
    if known is None or known.many is (correction.record is None):
        at = correction.at.removesuffix("/fields") + "/collection"
        return [Fault(at, "unknown-collection", "The catalogue declares no such collection of records.")]
    try:
        fields = fields_of(catalogue, correction.collection, correction.patch, at=correction.at)
        given = {name: value for name, value in correction.patch.items() if not _is_partial(value)}
        normalised(fields, given, at=correction.at)
    except InvalidInput as error:
        return list(error.faults)
    return []


def _is_partial(value: Any) -> bool:
    """Tell whether a value only becomes whole with the one that is there: nothing, or a patch of an object."""
    return value is None or isinstance(value, dict)


def _word_faults(words: Any, *, at: str) -> list[Fault]:
    if words is not None and not isinstance(words, str):
        return [Fault(at, "wrong-type", "words, in one line")]
    fault = words_fault(words, at=at, code="invalid-words")
    return [] if fault is None else [fault]


def _objection_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    allowed = may_object_to(policy_set, scope)
    faults = _purpose_faults(policy_set, scope)
    if not faults and (not allowed or any(name not in allowed for name in scope.purposes)):
        detail = "There is no right to object to what rests on this ground (Art. 21); a consent can be withdrawn."
        faults.append(Fault("/scope/purposes", "no-right-to-object", detail))
    return faults


def _withdrawal_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    faults = _purpose_faults(policy_set, scope)
    if not faults and any(not policy_set.purposes[name].rests_on_consent for name in scope.purposes):
        detail = "This purpose does not rest on consent, so there is none to take back."
        faults.append(Fault("/scope/purposes", "purpose-without-consent", detail))
    return faults


def _purpose_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    if all(name in policy_set.purposes for name in scope.purposes):
        return []
    return [Fault("/scope/purposes", "unknown-purpose", "There is no such purpose; GET /v1/purposes lists them.")]
