"""Audit entries of refused calls, at a bounded rate, so that a caller who is always refused fills no disk.

The first refusals of a principal within a minute have an entry each. Of those that follow, the first has an entry which
says that the others are counted, and the count is appended when the minute is over, or the process ends. So a crash can
lose the number, but not the fact.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from vault.ids import THE_PERSON

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vault.audit.entry import Action, Decision, Entry
    from vault.clock import Clock
    from vault.ids import EntryId

MOST_A_MINUTE: Final = 600
"""Refusals of one principal that have an entry each, within a minute and in one process."""
COUNT_SECONDS: Final = 20.0
"""Seconds between two looks for minutes that are over."""
COUNTED: Final = "refusals-counted"
"""Code of two kinds of entries: the one after which refusals are counted, and those with the counts (``target`` names
the first)."""


class Log(Protocol):
    """What is needed of the audit log."""

    def entry(self, **facts: Any) -> Entry:
        """Return an entry with the current time."""

    async def append(self, entry: Entry) -> EntryId:
        """Append an entry; return once it is durable."""


class Refusals:
    """Appends the entries of refused calls.

    Args:
        log: the audit log.
        clock: tells the minutes.
        most: entries a minute for each principal.
    """

    def __init__(self, log: Log, clock: Clock, *, most: int = MOST_A_MINUTE) -> None:
        self._log = log
        self._clock = clock
        self._most = most
        self._minutes: dict[Hashable, _Minute] = {}

    async def append(self, entry: Entry) -> EntryId:
        """Append an entry of a refused call, or count it.

        Returns:
            the id of the entry that says so, once it is durable.

        Raises:
            Unavailable: no entry is known to be durable; the caller gets no other answer.
        """
        minute = await self._minute_of(entry)
        if minute.written < self._most:
            minute.written += 1
            return await self._log.append(entry)
        async with minute.lock:  # those who come at the same moment wait until the one entry for all is durable
            if minute.counting is None:
                minute.counting = await self._log.append(self._entry(_Kind.of(entry), entry, request=entry.request))
                return minute.counting
        minute.counts[_Kind.of(entry)] += 1
        return minute.counting

    async def append_counts(self, *, now_too: bool = False) -> None:
        """Append the counts of minutes that are over.

        Args:
            now_too: those of the present minute as well, because the process ends.

        Raises:
            Unavailable: what is not known to be durable remains counted.
        """
        now = self._number()
        for key, minute in list(self._minutes.items()):
            if minute.number != now or now_too:
                await self._append_counts(minute)
                if self._minutes.get(key) is minute:
                    del self._minutes[key]

    async def _append_counts(self, minute: _Minute) -> None:
        async with minute.lock:  # after those who still wait to be counted, and never twice
            for kind, count in list(minute.counts.items()):
                await self._log.append(self._entry(kind, minute.of, target=minute.counting, count=count))
                del minute.counts[kind]

    async def _minute_of(self, entry: Entry) -> _Minute:
        # All people share one principal, and must not use up each other's entries.
        person = entry.subjects[:1] if entry.principal == THE_PERSON else ()
        key = entry.tenant, entry.principal, person
        minute, now = self._minutes.get(key), self._number()
        if minute is not None and minute.number != now:
            await self._append_counts(minute)
            minute = self._minutes.get(key)
        if minute is None or minute.number != now:
            minute = self._minutes[key] = _Minute(now, entry)
        return minute

    def _entry(self, kind: _Kind, of: Entry, **facts: Any) -> Entry:
        return self._log.entry(
            tenant=of.tenant,
            principal=of.principal,
            principal_name=of.principal_name,
            action=kind.action,
            decision=kind.decision,
            code=COUNTED,
            **facts,
        )

    def _number(self) -> int:
        return int(self._clock.now().timestamp() // 60)


class _Kind(NamedTuple):
    """What is counted together."""

    action: Action
    decision: Decision

    @classmethod
    def of(cls, entry: Entry) -> _Kind:
        return cls(entry.action, entry.decision)


@dataclass
class _Minute:
    """The refusals of one principal in one minute.

    Attributes:
        number: of the minute, since 1970.
        of: an entry of the principal.
        written: how many have an entry.
        counting: the entry after which they are counted.
    """

    number: int
    of: Entry
    written: int = 0
    counting: EntryId | None = None
    counts: Counter[_Kind] = field(default_factory=Counter)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
