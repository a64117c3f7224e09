"""What a sweep leaves of people's records, sealed anew under the newest data key; a view in place of some. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from vault.catalogue.types import decode, encode
from vault.catalogue.types.views import show
from vault.crypto.seal import place
from vault.subjects.blind_index import digests
from vault.subjects.record_body import pack
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.catalogue.model import Collection, Field
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.policy.policy_set import PolicySet
    from vault.subjects.record_body import Stored
    from vault.sweep.evaluate import PersonLook, RecordLook


class Anew(NamedTuple):
    """What sealing anew needs: the policies in force, the keys of the digests that lead to people, and the present."""

    policy_set: PolicySet
    digest_keys: IndexKeys
    now: datetime


class Rows(NamedTuple):
    """Whole rows of records, and of the digests that lead to them."""

    records: list[tuple[Any, ...]]
    leads: list[tuple[Any, ...]]


def left_of(anew: Anew, keys: SubjectKeys, person: PersonLook) -> Rows:
    """Seal what stays of a person: a record of which nothing is left goes, but for the profile.

    Raises:
        CannotOpen: a value that stays does not open.
    """
    rows = Rows([], [])
    is_found = person.row.state != "retained"  # whom an erasure has left something of is not to be found by it
    for look in person.records:
        collection = anew.policy_set.catalogue.collections.get(look.row.collection)
        body = _body(anew, keys, look, collection, rows.leads if is_found else None)
        if body or look.row.collection == PROFILE:
            rows.records.append(_row(anew, look, body, is_found=is_found))
    return rows


def _body(
    anew: Anew, keys: SubjectKeys, look: RecordLook, collection: Collection | None, leads: list[tuple[Any, ...]] | None
) -> dict[str, Stored]:
    row = look.row
    where = place(row.tenant_id, row.subject_id, row.collection, row.id)
    fields: Mapping[str, Field] = {} if collection is None else collection.fields
    gone = {*look.gone, *look.views}
    body: dict[str, Stored] = {}
    for name, stored in look.body.items():
        if name in gone:
            continue
        plain = keys.open(name, stored.sealed, where)
        body[name] = replace(stored, sealed=keys.seal(name, plain, where))
        field = fields.get(name)
        if leads is not None and field is not None and field.indexes:
            found = digests(anew.digest_keys, field, decode(plain))
            leads.extend((row.tenant_id, digest, row.subject_id, row.id, anew.digest_keys.version) for digest in found)
    for name, whole in look.views.items():
        stored, field, view = look.body[name], fields[name], whole.rpartition(".")[2]
        value = decode(keys.open(name, stored.sealed, where))
        shown = show(field.type, view, value, anew.now.date())
        if shown is not None:
            general = f"{name}.{view}"
            body[general] = replace(stored, sealed=keys.seal(general, encode(shown), where))
    return body


def _row(anew: Anew, look: RecordLook, body: Mapping[str, Stored], *, is_found: bool) -> tuple[Any, ...]:
    row = look.row
    return (
        row.tenant_id, row.subject_id, row.collection, row.id, row.revision + 1, row.created_at, anew.now,
        row.occurred_at, look.due, row.external_digest if is_found else None, pack(body, row.occurred_at),
    )  # fmt: skip
