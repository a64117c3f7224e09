"""Reads notices/*.md: the very texts that people agree to, each version a file of its own that never changes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.catalogue.document import Document
from vault.catalogue.findings import did_you_mean
from vault.catalogue.model import LegalBasis
from vault.catalogue.purposes import NOTICE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from vault.catalogue.document import Table
    from vault.catalogue.findings import Findings
    from vault.catalogue.model import Purpose

FENCE = "+++"
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Z]{2})?")


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """One version of a text. ``digest`` is SHA-256 over the whole file, so that a consent can name the exact words."""

    id: str
    title: str
    purposes: tuple[str, ...]
    language: str
    valid_from: date | None
    body: str = field(repr=False)
    digest: str = ""

    @property
    def name(self) -> str:
        """Return the name that all versions share."""
        return self.id.partition("@")[0]

    @property
    def version(self) -> int:
        """Return the version, from 1."""
        return int(self.id.partition("@")[2])


def id_of(file: str) -> str:
    """Return the ``name@version`` that a notice's file is called by."""
    return file.rpartition("/")[2].removesuffix(".md")


def load_notice(file: str, text: str, findings: Findings) -> Notice | None:
    """Read one notice: TOML front matter between two lines of ``+++``, then the text in Markdown."""
    front, body, last = _split(text)
    if front is None:
        findings.add(
            file, 1, "no-front-matter", "the notice has no front matter", f"begin with {FENCE}, TOML, and {FENCE}"
        )
        return None
    document = Document(file, front, findings, first=2)
    if not document.sound:
        return None
    table = document.root()
    notice = Notice(
        id=_id(table, id_of(file)),
        title=table.text("title", most=200),
        purposes=table.texts("purposes"),
        language=_language(table),
        valid_from=table.day("valid_from"),
        body=body.strip(),
        digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
    )
    table.finish()
    if not notice.purposes:
        document.note(1, "missing-key", "the notice names no `purposes`", 'add `purposes = ["…"]`')
    if not notice.body:
        document.note(last, "empty-notice", "the notice has no text", "write what people agree to")
    return notice


def check_notices(
    document: Document,
    purposes: Mapping[str, Purpose],
    notices: Mapping[str, Notice | None],
    findings: Findings,
) -> None:
    """Note purposes whose notice is not there or is about something else, and notices for unknown purposes.

    Args:
        document: purposes.toml.
        purposes: what it declares.
        notices: by ``name@version``, as the file is called; ``None`` where the file cannot be read.
        findings: where mistakes go.
    """
    for name, purpose in purposes.items():
        if purpose.notice is None or purpose.legal_basis != LegalBasis.CONSENT or not NOTICE.fullmatch(purpose.notice):
            continue
        if purpose.notice in notices and notices[purpose.notice] is None:
            continue
        notice = notices.get(purpose.notice)
        if notice is None:
            remedy = did_you_mean(purpose.notice, notices, f"write notices/{purpose.notice}.md")
            message = f"[{name}] names the notice `{purpose.notice}`, which is not there"
            document.fault((name, "notice"), "consent-without-notice", message, remedy)
        elif name not in notice.purposes:
            message = f"[{name}] names the notice `{notice.id}`, which does not tell of this purpose"
            document.fault((name, "notice"), "notice-of-another", message, f"add it to `purposes` of {notice.id}.md")
    for notice in filter(None, notices.values()):
        for unknown in [each for each in notice.purposes if each not in purposes]:
            remedy = did_you_mean(unknown, purposes, "take it out")
            message = f"the notice names the unknown purpose `{unknown[:80]}`"
            findings.add(f"notices/{notice.id}.md", 1, "unknown-purpose", message, remedy)


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


def _language(table: Table) -> str:
    language = table.text("language", most=10)
    if language and not LANGUAGE.fullmatch(language):
        table.fault("language", "wrong-value", "`language` is no language tag", "write `en`, `de`, `de-AT`")
    return language
