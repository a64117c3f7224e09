"""All versions of all notices: which is in force, and to which a consent is still good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from vault.catalogue.notices import Notice

if TYPE_CHECKING:
    from datetime import date

    from vault.catalogue.model import Purpose

MOST_KEPT = 4096
"""Answers that :meth:`Notices.accepted` keeps; a day has as many as there are purposes."""


class Notices(Mapping[str, Notice]):
    """The notices of a folder by ``name@version``, each in its main language: that of the file without a suffix."""

    def __init__(self, notices: Iterable[Notice] = ()) -> None:
        languages: defaultdict[str, dict[str, Notice]] = defaultdict(dict)
        for each in sorted(notices, key=lambda each: (each.id, each.translated, each.language)):
            languages[each.id].setdefault(each.language, each)
        self._languages = {id_: MappingProxyType(texts) for id_, texts in languages.items()}
        self._main = {id_: next(iter(texts.values())) for id_, texts in languages.items()}
        self._digests = {each.digest: each for texts in languages.values() for each in texts.values()}
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        for notice in self._main.values():
            self._numbers[notice.name].append(notice.version)
        self._kept: dict[tuple[str, str, date], frozenset[str]] = {}

    def __getitem__(self, notice: str) -> Notice:
        return self._main[notice]

    def __iter__(self) -> Iterator[str]:
        return iter(self._main)

    def __len__(self) -> int:
        return len(self._main)

    def version(self, notice: str) -> Notice | None:
        """Find a version by ``name@version``, in its main language."""
        return self._main.get(notice)

    def languages(self, notice: str) -> Mapping[str, Notice]:
        """Return a version's texts by language, the main one first; empty where there is no such version."""
        return self._languages.get(notice, MappingProxyType({}))

    def texts(self) -> Iterator[Notice]:
        """Go through all versions in all languages."""
        return iter(self._digests.values())

    def by_digest(self, digest: str) -> Notice | None:
        """Find the very text that has a hash."""
        return self._digests.get(digest)

    def versions(self, name: str) -> tuple[Notice, ...]:
        """Return all versions of a name, the oldest first, each in its main language."""
        return tuple(self._main[f"{name}@{number}"] for number in sorted(self._numbers.get(name, ())))

    def current(self, name: str, day: date) -> str | None:
        """Return the newest version of a name that is in force on a day."""
        return next((each.id for each in reversed(self.versions(name)) if each.in_force(day)), None)

    def accepted(self, purpose: Purpose, day: date) -> frozenset[str]:
        """List the versions to which a consent is good for a purpose on a day: a set that is kept for the next time.

        The walk begins with the newest version in force, which must not be older than the one that the purpose asks
        for, and goes down. A material version is the last one to be accepted. So is one below which a version is
        missing, not in force, or about other purposes: what cannot be followed is not consented to.
        """
        if purpose.notice is None:
            return frozenset()
        key = (purpose.name, purpose.notice, day)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            found = self._kept[key] = frozenset(self._walk(purpose.name, purpose.notice, day))
        return found

    def next_change(self, name: str, day: date) -> date | None:
        """Return the first day after a day on which another version of a name comes into force."""
        ahead = [each.valid_from for each in self.versions(name) if each.valid_from is not None]
        return min((each for each in ahead if each > day), default=None)

    def _walk(self, purpose: str, wanted: str, day: date) -> Iterator[str]:
        current = self.current(wanted.partition("@")[0], day)
        if current is None or number_of(current) < number_of(wanted):
            return
        for number in range(number_of(current), 0, -1):
            notice = self._main.get(f"{self._main[current].name}@{number}")
            if notice is None or not notice.in_force(day) or purpose not in notice.purposes:
                return
            yield notice.id
            if notice.material:
                return


def number_of(notice: str) -> int:
    """Return the version in ``name@version``."""
    return int(notice.partition("@")[2])
