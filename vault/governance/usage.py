"""Counts uses of data: for each purpose who read which fields, how often, from when to when.

The order in which uses are told makes no difference, and a long log takes no more memory than a short one with the same
readers, purposes and fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.audit.usage import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.audit.usage import Kind, Use

MOST_PATTERNS = 10_000
"""Uses that differ in nothing but people and time are counted together first, while there are not more than this."""


@dataclass(slots=True)
class Count:
    """How often something happened, to how many people in all, first and last (RFC 3339).

    Somebody who is read ten times counts as ten.
    """

    times: int = 0
    people: int = 0
    first: str = ""
    last: str = ""

    def add(self, other: Count) -> None:
        """Count what another has counted."""
        self.times += other.times
        self.people += other.people
        self.first = min(self.first or other.first, other.first or self.first)
        self.last = max(self.last, other.last)


@dataclass(slots=True)
class Reading:
    """What one principal read for one purpose, in all and by field."""

    total: Count = field(default_factory=Count)
    fields: dict[str, Count] = field(default_factory=dict)


@dataclass(slots=True)
class Usage:
    """The uses for one purpose, by kind, and the readings by (id, name) of the principal."""

    kinds: dict[Kind, Count] = field(default_factory=dict)
    readers: dict[Who, Reading] = field(default_factory=dict)


Who = tuple[str, str]
_Pattern = tuple[str, str, str, str, tuple[str, ...]]


class Tally:
    """The uses of all purposes, as far as they were told."""

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._patterns: dict[_Pattern, Count] = {}
        self.told = 0

    def add(self, uses: Iterable[Use]) -> None:
        """Count some uses."""
        for use in uses:
            self.told += 1
            # Fields of which nobody's value was shown were not read: a search may find nobody.
            shown = use.fields if use.people > 0 else ()
            pattern = (use.purpose, use.action, use.principal or "", use.principal_name, shown)
            count = self._patterns.get(pattern)
            if count is None:
                count = self._patterns[pattern] = Count()
            count.times += use.count
            count.people += use.count * max(0, use.people)
            count.first = min(count.first or use.at, use.at)
            count.last = max(count.last, use.at)
        if len(self._patterns) > MOST_PATTERNS:
            self._fold()

    def by_purpose(self) -> dict[str, Usage]:
        """Return what was counted, by name of purpose."""
        self._fold()
        return self._usage

    def _fold(self) -> None:
        for (purpose, action, principal, name, fields), count in self._patterns.items():
            usage = self._usage.setdefault(purpose, Usage())
            kind = KINDS[action]
            usage.kinds.setdefault(kind, Count()).add(count)
            if kind == "write" or not fields:
                continue
            reading = usage.readers.setdefault((principal, name), Reading())
            reading.total.add(count)
            for each in fields:
                reading.fields.setdefault(each, Count()).add(count)
        self._patterns.clear()
