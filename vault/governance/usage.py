"""Count the uses of data: for each purpose who read which fields, how often, and when first and last.

The result does not depend on the order of the uses. Memory grows with the number of distinct readers, purposes and
fields, not with the length of the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.audit.usage import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.audit.usage import Kind, Use

MOST_PATTERNS = 10_000
"""Number of distinct patterns (uses that differ in people and time only) that are counted before they are folded."""


@dataclass(slots=True)
class Count:
    """How often something happened, to how many people in all, and when first and last (RFC 3339).

    A person who is read ten times counts as ten.
    """

    times: int = 0
    people: int = 0
    first: str = ""
    last: str = ""

    def add(self, other: Count) -> None:
        """Add another count."""
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
    readers: dict[Principal, Reading] = field(default_factory=dict)


Principal = tuple[str, str]
"""Id and name of a principal."""
_Pattern = tuple[str, str, str, str, tuple[str, ...]]


class Tally:
    """Counts the uses of all purposes; ``uses`` is the number of uses so far."""

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._patterns: dict[_Pattern, Count] = {}
        self.uses = 0

    def add(self, uses: Iterable[Use]) -> None:
        """Count some uses."""
        for use in uses:
            self.uses += 1
            # A search may find no one: then no value of the fields was shown.
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
        """Return the counts by name of purpose."""
        self._fold()
        return self._usage

    def _fold(self) -> None:
        for (purpose, action, principal, principal_name, fields), count in self._patterns.items():
            usage = self._usage.setdefault(purpose, Usage())
            kind = KINDS[action]
            usage.kinds.setdefault(kind, Count()).add(count)
            if kind == "write" or not fields:
                continue
            reading = usage.readers.setdefault((principal, principal_name), Reading())
            reading.total.add(count)
            for name in fields:
                reading.fields.setdefault(name, Count()).add(count)
        self._patterns.clear()
