"""Reads words.<language>.toml: translations of the names of collections, fields and purposes.

The other policy files are in the company's own language. Answers to people are in theirs (Art. 12(1) GDPR). Texts that
such a file does not translate stay as they are in the other files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vault.catalogue.purposes import check_declared
from vault.catalogue.toml_document import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.catalogue.model import Catalogue, Field, Purpose
    from vault.catalogue.toml_document import Document, Table

WORDS: Final = re.compile(r"words\.(?P<language>[a-z]{2})\.toml")
"""Names of the files; the language is a code of ISO 639-1."""
TEXTS: Final = ("title", "description", "law", "interest", "logic", "consequences", "reason")
"""What may be translated of a purpose; ``reason`` is that of its period in retention.toml."""


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The translations into one language; without a translation, the untranslated text is returned.

    Attributes:
        collections: titles by name.
        fields: titles by whole name.
        purposes: by name of the purpose and of the text.
        others: by the untranslated text: recipients, owners, safeguards.
    """

    collections: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    purposes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    def collection(self, name: str, title: str) -> str:
        """Return the title of a collection."""
        return self.collections.get(name, title)

    def field(self, declared: Field) -> str:
        """Return the title of a field."""
        return self.fields.get(declared.whole, declared.title)

    def purpose(self, name: str, text: str, otherwise: str) -> str:
        """Return one of a purpose's texts."""
        return self.purposes.get(name, {}).get(text, otherwise)

    def other(self, text: str) -> str:
        """Return a recipient, an owner or a safeguard."""
        return self.others.get(text, text)


def load_words(document: Document, catalogue: Catalogue | None, purposes: Mapping[str, Purpose] | None) -> Words:
    """Read one language, adding every mistake to the document's findings.

    Args:
        document: words.<language>.toml.
        catalogue: names that may be used; ``None`` if it could not be read.
        purposes: as above.
    """
    root = document.root()
    words = Words(
        collections=_texts(root.table("collection"), None if catalogue is None else catalogue.collections),
        fields=_fields(root.table("field"), catalogue),
        purposes=_purposes(root.table("purpose"), purposes),
        others=_texts(root.table("other"), None),
    )
    root.finish()
    return words


def _texts(table: Table, known: Iterable[str] | None) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name in table.data:
        text = table.optional(name)
        if known is not None and name not in known:
            message = f"{table.where} names `{name[:80]}`, which the catalogue does not declare"
            table.fault(name, "unknown-name", message, did_you_mean(name, known, "take it out"))
        elif text is not None:
            texts[name] = text
    return texts


def _fields(tables: Table, catalogue: Catalogue | None) -> dict[str, str]:
    titles: dict[str, str] = {}
    for collection, table in tables.tables():
        declared = None if catalogue is None else catalogue.collections.get(collection)
        if catalogue is not None and declared is None:
            remedy = did_you_mean(collection, catalogue.collections, "take it out")
            table.fault((), "unknown-collection", f"`{collection[:80]}` is no collection", remedy)
            continue
        texts = _texts(table, None if declared is None else declared.fields)
        titles |= {f"{collection}.{name}": title for name, title in texts.items()}
    return titles


def _purposes(tables: Table, purposes: Mapping[str, Purpose] | None) -> dict[str, dict[str, str]]:
    translations: dict[str, dict[str, str]] = {}
    for name, table in tables.tables():
        check_declared(name, table, purposes)
        texts = {text: table.optional(text) for text in TEXTS}
        translations[name] = {text: translation for text, translation in texts.items() if translation is not None}
        table.finish()
    return translations
