"""A subject's records, opened one by one. The only place that opens values for a package."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from vault.catalogue.types import decode, encode, show
from vault.clock import from_microseconds, rfc3339
from vault.crypto.seal import record_aad
from vault.export.schema import PackageRecord, ValueOrigin
from vault.export.selection import WITHHELD, mask_of
from vault.export.survey import newest_first
from vault.subjects.rows import unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from vault.export.collect import Content
    from vault.export.schema import RetentionEnd
    from vault.storage.columns import AnyRow
    from vault.subjects.rows import Stored

NULL = msgspec.Raw(b"null")


async def records(content: Content, collection: str) -> AsyncIterator[PackageRecord]:
    """Open the records of one collection, newest first, a few hundred at a time.

    Values about other people are masked. A portability package leaves out what is not portable.

    Raises:
        CannotOpen: a value does not open as part of its record.
    """
    retained, selection = content.retained, content.selection
    async for row in newest_first(content.services, content.tenant, content.subject, collection, retained.now):
        whole = unpack(row.body)
        body = {
            name: stored
            for name, stored in retained.body(row, whole, collection).items()
            if selection.contains(f"{collection}.{name}", stored.source)
        }
        if body:
            values = retained.values(row, whole, collection)
            ends = {
                name: retained.with_hold(
                    content.grounds.retention_end(values[name]), row, whole, f"{collection}.{name}"
                )
                for name in body
            }
            yield _record(content, collection, row, body, ends)


def _record(
    content: Content, collection: str, row: AnyRow, body: Mapping[str, Stored], ends: Mapping[str, RetentionEnd]
) -> PackageRecord:
    aad = record_aad(content.tenant, content.subject, collection, row.id)
    opened = content.keys.open_all(body, {name: stored.sealed for name, stored in body.items()}, aad)
    values = {name: msgspec.Raw(plain) for name, plain in zip(body, opened, strict=True)}
    masked = _mask(content, collection, values)
    return PackageRecord(
        id=str(row.id),
        recorded_at=rfc3339(row.created_at),
        occurred_at=_rfc3339(row.occurred_at),
        values=values,
        origins=_origins(body, ends),
        masked=masked,
    )


def _mask(content: Content, collection: str, values: dict[str, msgspec.Raw]) -> dict[str, str]:
    """Replace values about other people by their masked view; returns the view of each."""
    masked: dict[str, str] = {}
    for name, value in list(values.items()):
        field = content.selection.field(f"{collection}.{name}")
        mask = mask_of(field)
        if field is None or mask is None:
            continue
        masked[name] = mask
        day = content.retained.now.date()
        shown = None if mask == WITHHELD else show(field.type, mask, decode(bytes(value)), day)
        values[name] = NULL if shown is None else msgspec.Raw(encode(shown))
    return masked


def _origins(body: Mapping[str, Stored], ends: Mapping[str, RetentionEnd]) -> tuple[ValueOrigin, ...]:
    """Describe the origin and the end of retention of the values, grouped by what they share."""
    groups: defaultdict[tuple[str | None, int | None, int | None, str | None, RetentionEnd], list[str]]
    groups = defaultdict(list)
    for name, stored in body.items():
        groups[stored.source, stored.collected_at, stored.verified_at, stored.purpose, ends[name]].append(name)
    return tuple(
        ValueOrigin(
            fields=tuple(names),
            source=source,
            collected_at=_moment(collected_at),
            verified_at=_moment(verified_at),
            purpose=purpose,
            keep=end,
        )
        for (source, collected_at, verified_at, purpose, end), names in groups.items()
    )


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else rfc3339(from_microseconds(microseconds))


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
