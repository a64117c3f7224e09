"""Reads notices/*.md: the very texts that people agree to, each version a file of its own that never changes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.catalogue.purposes import NOTICE
from vault.catalogue.toml_document import Document

if TYPE_CHECKING:
    from datetime import date

    from vault.catalogue.findings import Findings
    from vault.catalogue.toml_document import Table

FENCE = "+++"
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Z]{2})?")


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """One version of a text in one language.

    ``digest`` is SHA-256 over the whole file, so that a consent can name the exact words. ``material`` is true where
    the version says something else than the one before it, so that whoever agreed to that one is asked anew.
    ``translated`` is true where the file is named by its language too.
    """

    id: str
    title: str
    purposes: tuple[str, ...]
    language: str
    valid_from: date | None
    body: str = field(repr=False)
    digest: str = ""
    material: bool = True
    translated: bool = False

    @property
    def name(self) -> str:
        """Return the name that all versions share."""
        return self.id.partition("@")[0]

    @property
    def version(self) -> int:
        """Return the version, from 1."""
        return int(self.id.partition("@")[2])

    @property
    def file(self) -> str:
        """Return the path in the policy folder."""
        return f"notices/{self.id}.{self.language}.md" if self.translated else f"notices/{self.id}.md"

    def in_force(self, day: date) -> bool:
        """Tell whether people may be asked by this text on a day."""
        return self.valid_from is None or self.valid_from <= day


@dataclass(frozen=True, slots=True, eq=False)
class NoticeFile:
    """One file as it was read. ``notice`` and ``document`` are ``None`` where its front matter cannot be read."""

    file: str
    notice: Notice | None
    document: Document | None

    @property
    def id(self) -> str:
        """Return the ``name@version`` that the file is called by."""
        return stem_of(self.file)[0]


def stem_of(file: str) -> tuple[str, str | None]:
    """Part what a file is called by: ``name@version``, and its language where that stands in the name."""
    name, dot, language = file.rpartition("/")[2].removesuffix(".md").partition(".")
    return name, language if dot else None


def load_notice(file: str, text: str, findings: Findings) -> NoticeFile:
    """Read one notice: TOML front matter between two lines of ``+++``, then the text in Markdown."""
    front, body, last = _split(text)
    if front is None:
        findings.add(
            file, 1, "no-front-matter", "the notice has no front matter", f"begin with {FENCE}, TOML, and {FENCE}"
        )
        return NoticeFile(file, None, None)
    document = Document(file, front, findings, first=2)
    if not document.sound:
        return NoticeFile(file, None, None)
    table = document.root()
    stem, suffix = stem_of(file)
    notice = Notice(
        id=_id(table, stem),
        title=table.text("title", most=200),
        purposes=table.texts("purposes"),
        language=_language(table, suffix),
        valid_from=table.day("valid_from"),
        body=body.strip(),
        digest=digest_of(text),
        material=table.flag("material", default=True),
        translated=suffix is not None,
    )
    table.finish()
    if not notice.purposes:
        document.note(1, "missing-key", "the notice names no `purposes`", 'add `purposes = ["…"]`')
    if not notice.body:
        document.note(last, "empty-notice", "the notice has no text", "write what people agree to")
    return NoticeFile(file, notice, document)


def digest_of(text: str) -> str:
    """Hash a notice's file: ``sha256:`` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _split(text: str) -> tuple[str | None, str, int]:
    lines = text.splitlines(keepends=True)
    fences = [i for i, line in enumerate(lines) if line.strip() == FENCE][:2]
    if len(fences) < 2 or fences[0] != 0:
        return None, "", 1
    return "".join(lines[1 : fences[1]]), "".join(lines[fences[1] + 1 :]), fences[1] + 1


def _id(table: Table, stem: str) -> str:
    found = table.text("notice", most=80)
    if found and (found != stem or not NOTICE.fullmatch(found)):
        message = f"the notice calls itself `{found}` and its file is `{stem[:80]}.md`"
        table.fault("notice", "wrong-name", message, "call both `name@version`, such as marketing@3 and marketing@3.md")
    return stem


def _language(table: Table, suffix: str | None) -> str:
    language = table.text("language", most=10)
    if language and not LANGUAGE.fullmatch(language):
        table.fault("language", "wrong-value", "`language` is no language tag", "write `en`, `de`, `de-AT`")
    elif language and suffix is not None and suffix != language:
        message = f"the notice is in `{language}` and its file is named for `{suffix[:20]}`"
        table.fault("language", "wrong-name", message, "name both alike, such as `de` and marketing@3.de.md")
    return language
