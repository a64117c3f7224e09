"""A made-up subject, on which the work for a person is done when a claim leads to no person.

Work that only a person causes could be measured from outside, as the latency of the process, and would show who is a
customer. A made-up subject is stored nowhere, and no result of the work is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.catalogue.types import encode
from vault.crypto.seal import record_aad, throwaway_keys
from vault.ids import Pseudonym, RecordId, SubjectId, new_id
from vault.subjects.rows import Stored, pack
from vault.subjects.store import PROFILE, Row, StoredSubject

if TYPE_CHECKING:
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId


@dataclass(frozen=True, slots=True)
class StandIn:
    """A made-up subject with its keys; its row and its profile's record are as the database would return them."""

    keys: SubjectKeys
    subject: StoredSubject
    record: Row


def stand_in(tenant: TenantId, address: str, *others: str) -> StandIn:
    """Make a subject with an e-mail address in one field of the profile, and some text in others.

    Args:
        address: the name of the field with the address.
        others: the names of the other fields.
    """
    subject, keys = SubjectId(new_id()), throwaway_keys()
    aad = record_aad(tenant, subject, PROFILE, subject)
    texts = {address: f"{subject.hex}@example.invalid", **dict.fromkeys(others, "en")}
    body = {name: Stored(keys.seal(name, encode(text), aad)) for name, text in texts.items()}
    packed = pack(body, None)
    row = StoredSubject(subject, Pseudonym(new_id()), "active", packed, {})
    return StandIn(keys, row, Row(PROFILE, RecordId(subject), 1, packed))
