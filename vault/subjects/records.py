"""A record's body: a compact map of field to its sealed value and where it came from.

``msgpack({field: [sealed, source, collected_at, verified_at, expires_at, purpose]})``, times in microseconds since
1970. Each value is sealed on its own, so that a read opens only what it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vault.storage.columns import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.crypto.seal import SubjectKeys


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One sealed value with its provenance; times in microseconds since 1970."""

    sealed: bytes
    source: str | None = None
    collected_at: int | None = None
    verified_at: int | None = None
    expires_at: int | None = None
    purpose: str | None = None


class Origin(NamedTuple):
    """Where values come from: kept with each of them, shown to the person on access (Art. 15(1)(g))."""

    source: str
    collected_at: datetime
    purpose: str
    expires_at: datetime | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, Stored])

pack = _encoder.encode
unpack = _decoder.decode


def seal_values(keys: SubjectKeys, place: bytes, values: Mapping[str, bytes], origin: Origin) -> dict[str, Stored]:
    """Seal the canonical bytes of several fields of one record."""
    collected = to_microseconds(origin.collected_at)
    expires = None if origin.expires_at is None else to_microseconds(origin.expires_at)
    return {
        field: Stored(keys.seal(field, plaintext, place), origin.source, collected, None, expires, origin.purpose)
        for field, plaintext in values.items()
    }


def earliest_expiry(body: Mapping[str, Stored]) -> int | None:
    """Return the moment at which the first of a record's fields falls due; none where none ever does."""
    return min((stored.expires_at for stored in body.values() if stored.expires_at is not None), default=None)
