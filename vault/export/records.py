"""A person's records, opened one by one: the one place where values come out for a package."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from vault.catalogue.types import decode, encode, show
from vault.clock import from_microseconds, rfc3339
from vault.crypto.seal import record_aad
from vault.export.schema import OriginTold, RecordTold
from vault.export.selection import WITHHELD, mask_of
from vault.export.survey import newest_first
from vault.subjects.record_body import unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from vault.export.collect import Content
    from vault.export.schema import Keeping
    from vault.subjects.record_body import Stored

NULL = msgspec.Raw(b"null")


async def records(content: Content, collection: str) -> AsyncIterator[RecordTold]:
    """Open the records of one collection, the newest first, a few hundred at a time.

    What others have to fear from a copy is shown masked, and of a package of portability left out is what does not
    belong into it.

    Raises:
        CannotOpen: a value does not open at its place.
    """
    async for row in newest_first(content.services, content.tenant, content.subject, collection, content.moment):
        whole = unpack(row.body)
        body = {
            name: stored
            for name, stored in content.still.body(row, whole, collection).items()
            if content.selection.holds(f"{collection}.{name}", stored.source)
        }
        if body:
            ends = content.still.values(row, whole, collection)
            keeps = {
                name: content.still.keeping(content.grounds.keeping(ends[name]), row, whole, f"{collection}.{name}")
                for name in body
            }
            yield _told(content, collection, row, body, keeps)


def _told(
    content: Content, collection: str, row: Any, body: Mapping[str, Stored], keeps: Mapping[str, Keeping]
) -> RecordTold:
    where = record_aad(content.tenant, content.subject, collection, row.id)
    opened = content.keys.open_all(body, {name: stored.sealed for name, stored in body.items()}, where)
    values = {name: msgspec.Raw(plain) for name, plain in zip(body, opened, strict=True)}
    masked = _mask(content, collection, values)
    return RecordTold(
        id=str(row.id),
        recorded_at=rfc3339(row.created_at),
        occurred_at=_rfc3339(row.occurred_at),
        values=values,
        origins=_origins(body, keeps),
        masked=masked,
    )


def _mask(content: Content, collection: str, values: dict[str, msgspec.Raw]) -> dict[str, str]:
    """Put in place of values about others what may be seen of them; returns how each is shown."""
    masked: dict[str, str] = {}
    for name, value in list(values.items()):
        field = content.selection.field(f"{collection}.{name}")
        mask = mask_of(field)
        if field is None or mask is None:
            continue
        masked[name] = mask
        shown = None if mask == WITHHELD else show(field.type, mask, decode(bytes(value)), content.moment.date())
        values[name] = NULL if shown is None else msgspec.Raw(encode(shown))
    return masked


def _origins(body: Mapping[str, Stored], keeps: Mapping[str, Keeping]) -> tuple[OriginTold, ...]:
    """Tell where values come from and until when they are kept, together for those that share it."""
    groups: defaultdict[tuple[str | None, int | None, int | None, str | None, Keeping], list[str]] = defaultdict(list)
    for name, each in body.items():
        groups[each.source, each.collected_at, each.verified_at, each.purpose, keeps[name]].append(name)
    return tuple(
        OriginTold(
            fields=tuple(names),
            source=source,
            collected_at=_moment(collected_at),
            verified_at=_moment(verified_at),
            purpose=purpose,
            keep=keep,
        )
        for (source, collected_at, verified_at, purpose, keep), names in groups.items()
    )


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else rfc3339(from_microseconds(microseconds))


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
