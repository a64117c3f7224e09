"""A record's body: each value sealed on its own, so that a read opens only what it shows, and where each came from.

``msgpack([due, {field: sealed}, origins, since])``, with ``origins = msgpack([[source, collected_at, verified_at,
expires_at, purpose, [field, …]], …])`` as a binary string: a read, which needs no origin, passes over it in one step,
and fields that came in together share theirs. ``due`` is the earliest ``expires_at`` of the record or nil. Times are
microseconds since 1970. ``since`` is the moment from which retention counts, :func:`happened_at`: a read sees by it
that nothing can have ended yet. Bodies of before have none; a read of those looks closer each time.
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
    verified_at: datetime | None = None


class Sealed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A body as far as a read needs it."""

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
        body: the values.
        occurred_at: when the record happened, as its row has it.
    """
    shared: dict[tuple[object, ...], list[str]] = {}
    for field, stored in body.items():
        shared.setdefault(msgspec.structs.astuple(stored)[1:], []).append(field)
    origins = _encode([[*origin, fields] for origin, fields in shared.items()])
    values = {field: stored.sealed for field, stored in body.items()}
    since = earliest_collected(body) if occurred_at is None else to_microseconds(occurred_at)
    return _encode(Sealed(earliest_expiry(body), values, origins, since or 0))


def open_body(packed: bytes) -> Sealed:
    """Read the sealed values of a body and when the first of them falls due.

    Raises:
        CannotOpen: the bytes are no body.
    """
    try:
        return _decode(packed)
    except msgspec.MsgspecError:
        raise CannotOpen from None


NotWhole = msgspec.MsgspecError
"""What :attr:`Picker.pick` raises."""


class Picked(Protocol):
    """A few values of a body: a struct in their order; ``origins`` are still packed as in the body."""

    due: int | None
    values: msgspec.Struct
    origins: msgspec.Raw
    since: int


class Picker:
    """Reads a few values of a body and passes over all others, which takes a third of the time.

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
        """Reads the values of a body; raises :data:`NotWhole` where one is not there, or the bytes are no body."""


def unpack(packed: bytes) -> dict[str, Stored]:
    """Read a body with the origins of its values.

    Raises:
        CannotOpen: the bytes are no body, or a value has no origin.
    """
    body = open_body(packed)
    try:
        origins = {field: each for each in _decode_origins(body.origins) for field in each.fields}
        return {field: _stored(sealed, origins[field]) for field, sealed in body.values.items()}
    except (msgspec.MsgspecError, KeyError):
        raise CannotOpen from None


def happened_at(row: Any, body: Mapping[str, Stored]) -> int:
    """Tell when a record happened, else when the first of its values was collected, in microseconds since 1970.

    Retention counts from there.
    """
    if row.occurred_at is not None:
        return to_microseconds(row.occurred_at)
    collected = earliest_collected(body)
    return to_microseconds(row.created_at) if collected is None else collected


def earliest_collected(body: Mapping[str, Stored]) -> int | None:
    """Return when the first of a record's values was collected; none where nobody knows of any."""
    return min((stored.collected_at for stored in body.values() if stored.collected_at is not None), default=None)


def coarser(body: Mapping[str, Stored], fields: Iterable[str]) -> set[str]:
    """Return the names under which views of fields lie in a body in place of the values, which were generalised."""
    there = set(fields)
    return {name for name in body if "." in name and name.partition(".")[0] in there}


def view_name(name: str) -> str:
    """Return the name of the view as which a value lies in a body: what was generalised lies there as one already."""
    return name if "." in name else f"{name}.clear"


def seal_values(keys: SubjectKeys, place: bytes, values: Mapping[str, bytes], origin: Origin) -> dict[str, Stored]:
    """Seal the canonical bytes of several fields of one record."""
    collected = to_microseconds(origin.collected_at)
    expires = None if origin.expires_at is None else to_microseconds(origin.expires_at)
    verified = None if origin.verified_at is None else to_microseconds(origin.verified_at)
    return {
        field: Stored(keys.seal(field, plaintext, place), origin.source, collected, verified, expires, origin.purpose)
        for field, plaintext in values.items()
    }


def earliest_expiry(body: Mapping[str, Stored]) -> int | None:
    """Return the moment at which the first of a record's fields falls due; none where none ever does."""
    return min((stored.expires_at for stored in body.values() if stored.expires_at is not None), default=None)


def _stored(sealed: bytes, origin: _Shared) -> Stored:
    return Stored(sealed, origin.source, origin.collected_at, origin.verified_at, origin.expires_at, origin.purpose)
