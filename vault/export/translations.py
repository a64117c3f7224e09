"""Texts of a package in its language: sentences, words for codes, dates and numbers."""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vault.catalogue.model import CLEAR, HOME
from vault.catalogue.types import parameter
from vault.export.schema import Right

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.export.schema import FieldDescription, PackageHead, RecipientSummary

LANGUAGES: Final = ("en", "de", "fr")
"""Languages of packages; the first one replaces any other."""
ARTICLE: Final = re.compile(r"Art\. (?P<article>\d+)(?:\((?P<paragraph>\d+)\))?(?:\((?P<letter>[a-z])\))? GDPR")
UNKNOWN: Final = "unknown"
DASH: Final = "\u2013"
"""Shown for an absent value."""


class Texts:
    """The texts of one language. Called with a key, it returns a sentence of the page."""

    def __init__(self, language: str, texts: Mapping[str, Any]) -> None:
        self.language = language
        self._texts = texts
        self._page: Mapping[str, str] = texts["page"]

    def __call__(self, key: str, **values: object) -> str:
        """Return a sentence with its placeholders filled in."""
        return self._page[key].format(**values) if values else self._page[key]

    @property
    def rights(self) -> tuple[Right, ...]:
        """Return the rights of data subjects."""
        return msgspec.convert(self._texts["rights"], tuple[Right, ...])

    def readme(self, *, access: bool) -> str:
        """Return the text of README.txt."""
        readme: Mapping[str, str] = self._texts["readme"]
        return readme["text"].format(accesses=readme["accesses"] if access else "").lstrip()

    def word(self, group: str, code: str) -> str:
        """Return the word for a code. An unknown code is returned with spaces between its words."""
        known: Mapping[str, str] = self._texts["word"].get(group, {})
        return known.get(code) or re.sub(r"[-_]", " ", code)

    def count(self, what: str, count: int) -> str:
        """Write a count: ``1 record``, ``2 records``."""
        return self.noun(what, count).format(count=self.number(count))

    def noun(self, what: str, count: int) -> str:
        """Return the singular or plural that goes with a number."""
        one, many = self._texts["count"][what]
        return str(one if count == 1 else many)

    def number(self, count: int) -> str:
        """Write a whole number."""
        return f"{count:,}".replace(",", self._texts["thousands"])

    def day(self, when: str | None) -> str:
        """Write the day of an ISO 8601 date or time; a dash for None."""
        if when is None:
            return DASH
        day = date.fromisoformat(when[:10])
        number = self._texts["first"] if day.day == 1 else day.day
        return str(self._texts["day"].format(day=number, month=self._texts["months"][day.month - 1], year=day.year))

    def moment(self, when: str) -> str:
        """Write a time in UTC."""
        at = datetime.fromisoformat(when)
        return str(self._texts["moment"].format(day=self.day(when), time=f"{at:%H:%M}"))

    def span(self, iso: str) -> str:
        """Write an ISO 8601 duration in words."""
        units = {"Y": "year", "M": "month", "D": "day"}
        return ", ".join(self.count(units[unit], int(number)) for number, unit in re.findall(r"(\d+)([YMD])", iso))

    def article(self, article: str) -> str:
        """Write an article of the GDPR, such as ``Art. 6(1)(a) GDPR``, in the citation style of the language."""
        match = ARTICLE.fullmatch(article)
        if match is None:
            return article
        parts = {
            name: self._texts[name].format(**match.groupdict()) if match[name] else ""
            for name in ("paragraph", "letter")
        }
        return str(self._texts["article"].format(article=match["article"], **parts))

    def source(self, source: str | None) -> str:
        """Return the name of a source. Names of systems are not translated."""
        known: Mapping[str, str] = self._texts["word"]["source"]
        return known.get(source or UNKNOWN, source or UNKNOWN)

    def recipient(self, summary: RecipientSummary) -> str:
        """Return the name of a recipient. Names of apps are not translated."""
        known: Mapping[str, str] = self._texts["word"]["recipient"]
        is_app = summary.kind == "app" and summary.recipient != UNKNOWN
        return summary.recipient if is_app else known.get(summary.recipient, summary.recipient)

    def fields(self, head: PackageHead, collection: str) -> list[FieldDescription]:
        """List the fields of a collection that have values."""
        return [field for field in head.fields.values() if field.collection == collection]

    def titles(self, head: PackageHead, names: Iterable[str]) -> list[str]:
        """Return the titles of fields, grouped by collection: ``Full name``, ``Purchases (Store, Amount)``."""
        return self._grouped(head, ((whole, self._title(head, whole)) for whole in names))

    def views(self, head: PackageHead, names: Iterable[str]) -> list[str]:
        """Return the titles of fields with the views that were shown: ``E-mail address [masked]``."""
        titles = []
        for name in names:
            whole, _, view = name.rpartition(".")
            title = self._title(head, whole)
            titles.append((whole, title if view == CLEAR else f"{title} [{self._view(view)}]"))
        return self._grouped(head, titles)

    def _grouped(self, head: PackageHead, titles: Iterable[tuple[str, str]]) -> list[str]:
        profile: dict[str, None] = {}
        groups: dict[str, dict[str, None]] = {}
        for whole, title in titles:
            collection = whole.partition(".")[0]
            grouped = collection != HOME and collection in head.collections
            (groups.setdefault(head.collections[collection].title, {}) if grouped else profile)[title] = None
        return [*profile, *(f"{collection} ({', '.join(members)})" for collection, members in groups.items())]

    def _title(self, head: PackageHead, whole: str) -> str:
        field = head.fields.get(whole)
        return whole.partition(".")[2] if field is None else field.title

    def _view(self, view: str) -> str:
        generic, number = parameter(view)
        return self.word("view", generic).format(n=number)


@lru_cache(maxsize=len(LANGUAGES))
def _texts(language: str) -> Texts:
    text = files("vault.export").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
    return Texts(language, tomllib.loads(text))


def texts_in(language: str) -> Texts:
    """Return the texts of a language: ``de`` for ``de-AT``, English for an unsupported language."""
    base = language.partition("-")[0].lower()
    return _texts(base if base in LANGUAGES else LANGUAGES[0])
