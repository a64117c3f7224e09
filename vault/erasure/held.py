"""What holds do to an erasure: what they cover stays for as long as they stand, and goes when they are lifted. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.erasure.verdict import also_held, also_until
from vault.retention.applying import day_of
from vault.retention.holds import held_by
from vault.storage.columns import from_microseconds, to_microseconds
from vault.subjects.record_body import happened_at, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vault.consent.state import Standing
    from vault.erasure.verdict import Verdicts


def with_holds(found: Verdicts, records: Sequence[Any], standing: Standing) -> Verdicts:
    """Add to verdicts what holds keep."""
    if not standing.holds:
        return found
    held: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        day = day_of(happened_at(row, unpack(row.body)))
        for name, verdict in found.get(key, {}).items():
            by = held_by(standing, f"{row.collection}.{name}", day)
            held.setdefault(key, {})[name] = verdict if by is None else also_held(verdict, by.purpose)
    return held


def as_kept(found: Verdicts, records: Sequence[Any], now: datetime) -> Verdicts:
    """Let what an earlier erasure kept of somebody stay until the day that it set, and no law be cut short.

    The clocks and consents from which that day followed went with the earlier erasure.
    """
    moment = to_microseconds(now)
    kept: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        body = unpack(row.body)
        for name, verdict in found.get(key, {}).items():
            ends = body[name].expires_at
            stays = ends is not None and ends > moment
            last = None if ends is None else from_microseconds(ends - 1).date()
            kept.setdefault(key, {})[name] = also_until(verdict, last) if stays and last is not None else verdict
    return kept


def of_rests(found: Verdicts, records: Sequence[Any], rests: Mapping[str, datetime]) -> Verdicts:
    """Leave out of verdicts what came in after the erasure that a hold kept it from: nobody asked to erase that.

    Args:
        found: the verdicts.
        records: all rows of records.
        rests: by whole name of the field, when it was to be erased; empty: all verdicts count.
    """
    if not rests:
        return found
    ends = {name: to_microseconds(moment) for name, moment in rests.items()}
    older: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        body = unpack(row.body)
        for name, verdict in found.get(key, {}).items():
            collected = body[name].collected_at
            came = happened_at(row, body) if collected is None else collected
            if came <= ends.get(f"{row.collection}.{name}", -1):
                older.setdefault(key, {})[name] = verdict
    return older
