"""What a package says to people, in their language: sentences, words for codes, days and numbers."""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from vault.catalogue.model import CLEAR, HOME
from vault.catalogue.types import parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.export.schema import FieldTold, Head, RecipientTold

LANGUAGES: Final = ("en", "de", "fr")
"""Those in which packages are written; who asks for another gets the first."""
ARTICLE: Final = re.compile(r"Art\. (?P<article>\d+)(?:\((?P<paragraph>\d+)\))?(?:\((?P<letter>[a-z])\))? GDPR")
UNKNOWN: Final = "unknown"
DASH: Final = "\u2013"
"""Stands where there is nothing."""


class Texts:
    """The texts of one language; called with a key, it says a sentence of the page."""

    def __init__(self, language: str, read: Mapping[str, Any]) -> None:
        self.language = language
        self._read = read
        self._page: Mapping[str, str] = read["page"]

    def __call__(self, key: str, **values: object) -> str:
        """Say a sentence, with values at its places."""
        return self._page[key].format(**values) if values else self._page[key]

    @property
    def rights(self) -> list[tuple[str, str, str]]:
        """Return the rights that people have: article, title, sentence."""
        return [(each["article"], each["title"], each["text"]) for each in self._read["rights"]]

    def readme(self, *, access: bool) -> str:
        """Return the text of README.txt."""
        told: Mapping[str, str] = self._read["readme"]
        return told["text"].format(accesses=told["accesses"] if access else "").lstrip()

    def word(self, group: str, code: str) -> str:
        """Return the word for a code; a code that is new here is told as it is, with blanks."""
        known: Mapping[str, str] = self._read["word"].get(group, {})
        return known.get(code) or re.sub(r"[-_]", " ", code)

    def count(self, what: str, count: int) -> str:
        """Say how many: ``1 record``, ``2 records``."""
        return self.noun(what, count).format(count=self.number(count))

    def noun(self, what: str, count: int) -> str:
        """Return the word that goes with a number."""
        one, many = self._read["count"][what]
        return str(one if count == 1 else many)

    def number(self, count: int) -> str:
        """Write a whole number."""
        return f"{count:,}".replace(",", self._read["thousands"])

    def day(self, when: str | None) -> str:
        """Write the day of a moment or of a date, both as ISO 8601 writes them; a dash where there is none."""
        if when is None:
            return DASH
        day = date.fromisoformat(when[:10])
        return str(self._read["day"].format(day=day.day, month=self._read["months"][day.month - 1], year=day.year))

    def moment(self, when: str) -> str:
        """Write a moment, in UTC."""
        at = datetime.fromisoformat(when)
        return str(self._read["moment"].format(day=self.day(when), time=f"{at:%H:%M}"))

    def span(self, iso: str) -> str:
        """Write a period of ISO 8601 in words."""
        units = {"Y": "year", "M": "month", "D": "day"}
        return ", ".join(self.count(units[unit], int(number)) for number, unit in re.findall(r"(\d+)([YMD])", iso))

    def article(self, article: str) -> str:
        """Write an article of the Regulation the way that the language cites it: ``Art. 6(1)(a) GDPR``."""
        found = ARTICLE.fullmatch(article)
        if found is None:
            return article
        parts = {
            name: self._read[name].format(**found.groupdict()) if found[name] else ""
            for name in ("paragraph", "letter")
        }
        return str(self._read["article"].format(article=found["article"], **parts))

    def source(self, source: str | None) -> str:
        """Name where a value comes from; systems are called what they are called."""
        known: Mapping[str, str] = self._read["word"]["source"]
        return known.get(source or UNKNOWN, source or UNKNOWN)

    def recipient(self, told: RecipientTold) -> str:
        """Name who received something."""
        known: Mapping[str, str] = self._read["word"]["recipient"]
        own = told.kind != "app" or told.recipient == UNKNOWN
        return known.get(told.recipient, told.recipient) if own else told.recipient

    def fields(self, head: Head, collection: str) -> list[FieldTold]:
        """List the fields of a collection that hold values."""
        return [each for each in head.fields.values() if each.collection == collection]

    def titles(self, head: Head, names: Iterable[str]) -> list[str]:
        """Name fields by their titles, those of a collection together: ``Full name``, ``Purchases (Store, Amount)``."""
        return self._grouped(head, ((whole, self._title(head, whole)) for whole in names))

    def views(self, head: Head, names: Iterable[str]) -> list[str]:
        """Name fields as they were shown: ``E-mail address [masked]``."""
        told = []
        for name in names:
            whole, _, view = name.rpartition(".")
            title = self._title(head, whole)
            told.append((whole, title if view == CLEAR else f"{title} [{self._view(view)}]"))
        return self._grouped(head, told)

    def _grouped(self, head: Head, told: Iterable[tuple[str, str]]) -> list[str]:
        own: dict[str, None] = {}
        groups: dict[str, dict[str, None]] = {}
        for whole, title in told:
            collection = whole.partition(".")[0]
            known = collection != HOME and collection in head.collections
            (groups.setdefault(head.collections[collection].title, {}) if known else own)[title] = None
        return [*own, *(f"{collection} ({', '.join(titles)})" for collection, titles in groups.items())]

    def _title(self, head: Head, whole: str) -> str:
        field = head.fields.get(whole)
        return whole.partition(".")[2] if field is None else field.title

    def _view(self, view: str) -> str:
        generic, number = parameter(view)
        return self.word("view", generic).format(n=number)


@lru_cache(maxsize=len(LANGUAGES))
def _texts(language: str) -> Texts:
    read = files("vault.export").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
    return Texts(language, tomllib.loads(read))


def texts_in(language: str) -> Texts:
    """Return the texts of a language: ``de`` for ``de-AT``, English for one that is not here."""
    base = language.partition("-")[0].lower()
    return _texts(base if base in LANGUAGES else LANGUAGES[0])
