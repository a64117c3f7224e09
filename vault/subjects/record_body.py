"""The body of a record: its values, each sealed on its own so that a read opens only what it shows, and their origins.

``msgpack([due, {field: sealed}, origins, since])``, with ``origins = msgpack([[source, collected_at, verified_at,
expires_at, purpose, [field, …]], …])`` as a binary string: a read needs no origin and skips it in one step, and
fields that were written together share one. ``due`` is the earliest ``expires_at`` of the record or nil. Times are
microseconds since 1970. ``since`` is the start of the retention time, :func:`happened_at`: a read sees by
it that no value can have expired. Older bodies have none, and need the full check at each read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import msgspec

from vault.clock import to_microseconds
from vault.errors import CannotOpen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from vault.crypto.seal import SubjectKeys
    from vault.storage.columns import AnyRow
    from vault.subjects.store import Moments


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One sealed value with its provenance; times in microseconds since 1970."""

    sealed: bytes
    source: str | None = None
    collected_at: int | None = None
    verified_at: int | None = None
    expires_at: int | None = None
    purpose: str | None = None


class Origin(NamedTuple):
    """The origin of values: stored with each of them, and shown to the person on access (Art. 15(1)(g))."""

    source: str
    collected_at: datetime
    purpose: str
    expires_at: datetime | None = None
    verified_at: datetime | None = None


class Sealed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The parts of a body that a read needs."""

    due: int | None
    values: dict[str, bytes]
    origins: bytes
    since: int = 0


class _Shared(msgspec.Struct, array_like=True, frozen=True, gc=False):
    source: str | None
    collected_at: int | None
    verified_at: int | None
    expires_at: int | None
    purpose: str | None
    fields: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sealed).decode
_decode_origins = msgspec.msgpack.Decoder(list[_Shared]).decode


def pack(body: Mapping[str, Stored], occurred_at: datetime | None) -> bytes:
    """Write a body.

    Args:
        occurred_at: the time in the record's row.
    """
    shared: dict[tuple[object, ...], list[str]] = {}
    for field, stored in body.items():
        shared.setdefault(msgspec.structs.astuple(stored)[1:], []).append(field)
    origins = _encode([[*origin, fields] for origin, fields in shared.items()])
    values = {field: stored.sealed for field, stored in body.items()}
    since = earliest_collected(body) if occurred_at is None else to_microseconds(occurred_at)
    return _encode(Sealed(earliest_expiry(body), values, origins, since or 0))


def open_body(packed: bytes) -> Sealed:
    """Read the sealed values of a body, and when the first of them expires.

    Raises:
        CannotOpen: the bytes are not a body.
    """
    try:
        return _decode(packed)
    except msgspec.MsgspecError:
        raise CannotOpen from None


NotWhole = msgspec.MsgspecError
"""Raised by :attr:`Picker.pick`."""


class Picked(Protocol):
    """Some values of a body, as a struct in the order of the fields; ``origins`` are still packed."""

    due: int | None
    values: msgspec.Struct
    origins: msgspec.Raw
    since: int


class Picker:
    """Reads some values of a body and skips all others, which takes a third of the time.

    Args:
        fields: the values to read.
    """

    __slots__ = ("pick",)

    def __init__(self, fields: Sequence[str]) -> None:
        names = {f"f{position}": field for position, field in enumerate(fields)}
        values = msgspec.defstruct("Picked", [(name, bytes) for name in names], rename=names, frozen=True, gc=False)
        body = msgspec.defstruct(
            "Body",
            [("due", int | None), ("values", values), ("origins", msgspec.Raw), ("since", int, 0)],
            array_like=True,
            frozen=True,
            gc=False,
        )
        self.pick: Callable[[bytes], Picked] = cast("Any", msgspec.msgpack.Decoder(body).decode)
        """Reads the values of a body; raises :data:`NotWhole` if one is missing, or the bytes are not a body."""


def unpack(packed: bytes) -> dict[str, Stored]:
    """Read a body with the origins of its values.

    Raises:
        CannotOpen: the bytes are not a body, or a value has no origin.
    """
    body = open_body(packed)
    try:
        origins = {field: origin for origin in _decode_origins(body.origins) for field in origin.fields}
        return {field: _stored(sealed, origins[field]) for field, sealed in body.values.items()}
    except (msgspec.MsgspecError, KeyError):
        raise CannotOpen from None


def happened_at(row: AnyRow | Moments, body: Mapping[str, Stored]) -> int:
    """Return the start of a record's retention time, in microseconds since 1970.

    It is when the record happened or, if that is unknown, when the first of its values was collected.
    """
    if row.occurred_at is not None:
        return to_microseconds(row.occurred_at)
    collected = earliest_collected(body)
    return to_microseconds(row.created_at) if collected is None else collected


def earliest_collected(body: Mapping[str, Stored]) -> int | None:
    """Return when the first of a record's values was collected; None if it is unknown of all."""
    return min((stored.collected_at for stored in body.values() if stored.collected_at is not None), default=None)


def coarser(body: Mapping[str, Stored], fields: Iterable[str]) -> set[str]:
    """Return the names of generalised values in a body: views that replaced the values of the fields."""
    names = set(fields)
    return {name for name in body if "." in name and name.partition(".")[0] in names}


def view_name(name: str) -> str:
    """Return the view that a value in a body is: a generalised value is a view already."""
    return name if "." in name else f"{name}.clear"


def seal_values(keys: SubjectKeys, aad: bytes, values: Mapping[str, bytes], origin: Origin) -> dict[str, Stored]:
    """Seal the canonical bytes of several fields of one record."""
    collected = to_microseconds(origin.collected_at)
    expires = None if origin.expires_at is None else to_microseconds(origin.expires_at)
    verified = None if origin.verified_at is None else to_microseconds(origin.verified_at)
    return {
        field: Stored(keys.seal(field, plaintext, aad), origin.source, collected, verified, expires, origin.purpose)
        for field, plaintext in values.items()
    }


def earliest_expiry(body: Mapping[str, Stored]) -> int | None:
    """Return when the first of a record's values expires; None if none does."""
    return min((stored.expires_at for stored in body.values() if stored.expires_at is not None), default=None)


def _stored(sealed: bytes, origin: _Shared) -> Stored:
    return Stored(sealed, origin.source, origin.collected_at, origin.verified_at, origin.expires_at, origin.purpose)
