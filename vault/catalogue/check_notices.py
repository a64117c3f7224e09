"""Do the notices fit together, and with the purposes that ask for consent by them?"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from vault.catalogue.findings import did_you_mean
from vault.catalogue.purposes import NOTICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vault.catalogue.findings import Findings
    from vault.catalogue.model import Purpose
    from vault.catalogue.notices import Notice, NoticeFile
    from vault.catalogue.toml_document import Document

ALIKE = ("purposes", "material", "valid_from")
"""What all languages of one version say alike: they are one version, in whatever language somebody read it."""


def check_notices(
    document: Document,
    purposes: Mapping[str, Purpose],
    files: Sequence[NoticeFile],
    findings: Findings,
) -> None:
    """Note what does not fit: purposes and their notices, notices and their purposes, languages of one version.

    Args:
        document: purposes.toml.
        purposes: what it declares.
        files: all notices, read.
        findings: where mistakes go.
    """
    versions: defaultdict[str, list[NoticeFile]] = defaultdict(list)
    for each in files:
        versions[each.id].append(each)
    for of_one in versions.values():
        _check_languages(of_one, findings)
    for purpose in purposes.values():
        if purpose.rests_on_consent and purpose.notice is not None and NOTICE.fullmatch(purpose.notice):
            _check_named(document, purpose, versions)
            _check_newer(document, purpose, [each.notice for each in files if each.notice is not None])
    for each in files:
        _check_purposes(each, purposes, findings)


def _check_languages(files: Sequence[NoticeFile], findings: Findings) -> None:
    """Note a version that has no text to fall back on, a language that stands twice, and languages that disagree."""
    read = [(each, each.notice) for each in files if each.notice is not None]
    main = next((each for each in read if not each[1].translated), None)
    if main is None:
        if len(read) == len(files):
            message = f"{files[0].id} has no text but translations"
            remedy = f"name the text that counts where nobody asks for a language {files[0].id}.md"
            findings.add(files[0].file, 1, "no-main-language", message, remedy)
        return
    languages = {main[1].language}
    for each, notice in read:
        if each is main[0]:
            continue
        if notice.language in languages:
            message = f"{each.id} is there in `{notice.language}` already"
            _fault(each, "language", "duplicate", message, "keep one of the two files")
        languages.add(notice.language)
        _check_alike(each, notice, main[1])


def _check_alike(each: NoticeFile, notice: Notice, main: Notice) -> None:
    for key in ALIKE:
        mine, theirs = getattr(notice, key), getattr(main, key)
        if (set(mine) != set(theirs)) if key == "purposes" else mine != theirs:
            message = f"`{key}` is not what the notice in `{main.language}` says"
            _fault(each, key, "languages-differ", message, f"say the same as {main.file}, or make both a new version")


def _fault(each: NoticeFile, key: str, code: str, message: str, remedy: str) -> None:
    if each.document is not None:
        each.document.fault((key,), code, message, remedy)


def _check_named(document: Document, purpose: Purpose, versions: Mapping[str, Sequence[NoticeFile]]) -> None:
    """Note that the version which a purpose asks for is not there, or tells of other purposes only."""
    name, wanted = purpose.name, purpose.notice or ""
    if wanted not in versions:
        remedy = did_you_mean(wanted, versions, f"write notices/{wanted}.md")
        message = f"[{name}] names the notice `{wanted}`, which is not there"
        document.fault((name, "notice"), "consent-without-notice", message, remedy)
        return
    notices = [each.notice for each in versions[wanted]]
    if all(notice is not None and name not in notice.purposes for notice in notices):
        message = f"[{name}] names the notice `{wanted}`, which does not tell of this purpose"
        document.fault((name, "notice"), "notice-of-another", message, f"add it to `purposes` of {wanted}.md")


def _check_newer(document: Document, purpose: Purpose, notices: Iterable[Notice]) -> None:
    """Note newer versions that leave a purpose out: once one is in force, nobody's consent would be good any more."""
    name, wanted = purpose.name, purpose.notice or ""
    notice_name, _, number = wanted.partition("@")
    for notice in notices:
        newer = notice.name == notice_name and NOTICE.fullmatch(notice.id) and notice.version > int(number)
        if newer and not notice.translated and name not in notice.purposes:
            message = f"[{name}] names the notice `{wanted}`, and the newer {notice.id} leaves this purpose out"
            remedy = f"add it to `purposes` of {notice.id}.md, or give one of the two a notice of another name"
            document.fault((name, "notice"), "notice-of-another", message, remedy)


def _check_purposes(each: NoticeFile, purposes: Mapping[str, Purpose], findings: Findings) -> None:
    for unknown in [named for named in (each.notice.purposes if each.notice else ()) if named not in purposes]:
        remedy = did_you_mean(unknown, purposes, "take it out")
        message = f"the notice names the unknown purpose `{unknown[:80]}`"
        findings.add(each.file, 1, "unknown-purpose", message, remedy)
