"""Ids and names: a type for each kind, so that the type checker distinguishes them."""

from __future__ import annotations

import os
import re
import threading
import time
from typing import NewType
from uuid import UUID

TenantId = NewType("TenantId", str)
"""Short name of a controller: see :data:`SLUG`."""
SubjectId = NewType("SubjectId", UUID)
RecordId = NewType("RecordId", UUID)
PrincipalId = NewType("PrincipalId", UUID)
KeyId = NewType("KeyId", UUID)
EntryId = NewType("EntryId", UUID)
Pseudonym = NewType("Pseudonym", UUID)
"""Random stand-in for a subject on the audit log; destroyed with the subject's keys."""
FieldName = NewType("FieldName", str)
"""Whole name of a field's view, such as ``profile.email.masked``; the clear view is ``profile.email.clear``."""
PurposeName = NewType("PurposeName", str)
RoleName = NewType("RoleName", str)
PolicyVersion = NewType("PolicyVersion", str)

DEFAULT_TENANT = TenantId("default")
THE_PERSON = UUID("00000000-0000-7000-8000-000000000004")
"""The principal of data subjects in the audit log; the pseudonym says who they are."""

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
"""Names that people choose for tenants, apps, purposes and roles: 1-64 of ``a-z 0-9 _ -``."""

_lock = threading.Lock()
_last = 0


def is_slug(name: str) -> bool:
    """Return whether a name is a slug (lower-case ASCII, digits, ``-`` and ``_``; 1 to 64 characters)."""
    return SLUG.fullmatch(name) is not None


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then a 12-bit fraction, then 62 random bits.

    The fraction always grows within a process (RFC 9562 §6.2, method 3), so that ids sort in the order in which they
    were made.
    """
    global _last  # noqa: PLW0603 - the one counter of the process, under its lock
    with _lock:
        ticks = time.time_ns() * 4096 // 1_000_000
        _last = ticks = max(ticks, _last + 1)
    tail = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62 | tail)


def random_id() -> UUID:
    """Make a UUIDv4, for pseudonyms, which must not reveal when they were made."""
    return UUID(bytes=os.urandom(16), version=4)
