"""Notices: the texts that people agree to (``notices/*.md``). Each version is a file of its own that never changes.

Reads the files and checks them against each other and against the purposes; compares two versions word by word; and
finds the version in force and those for which a consent is still valid.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from vault.catalogue.purposes import NOTICE
from vault.catalogue.toml_document import Document, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from vault.catalogue.model import Purpose
    from vault.catalogue.toml_document import Findings, Table


FENCE = "+++"
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Z]{2})?")


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """One version of a text in one language.

    ``digest`` is SHA-256 over the whole file, so that a consent can name the exact words. ``material`` is true if
    the meaning differs from the version before it, so that people who agreed to that one are asked again.
    ``translated`` is true if the name of the file contains its language.
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
        """Return whether the text is in force on a day."""
        return self.valid_from is None or self.valid_from <= day


@dataclass(frozen=True, slots=True, eq=False)
class NoticeFile:
    """One file. ``notice`` and ``document`` are ``None`` if its front matter cannot be read."""

    file: str
    notice: Notice | None
    document: Document | None

    @property
    def id(self) -> str:
        """Return the ``name@version`` in the name of the file."""
        return stem_of(self.file)[0]


def stem_of(file: str) -> tuple[str, str | None]:
    """Split the name of a file into ``name@version`` and its language, if the name contains one."""
    name, dot, language = file.rpartition("/")[2].removesuffix(".md").partition(".")
    return name, language if dot else None


def load_notice(file: str, text: str, findings: Findings) -> NoticeFile:
    """Read one notice: TOML front matter between two lines of ``+++``, then the text in Markdown."""
    front, body, last = _split(text)
    if front is None:
        remedy = f"begin with {FENCE}, TOML, and {FENCE}"
        findings.add(file, 1, "no-front-matter", "the notice has no front matter", remedy)
        return NoticeFile(file, None, None)
    document = Document(file, front, findings, first=2)
    if not document.sound:
        return NoticeFile(file, None, None)
    table = document.root()
    stem, suffix = stem_of(file)
    notice = Notice(
        id=_id(table, stem),
        title=table.text("title", most=200),
        purposes=tuple(table.texts("purposes")),
        language=_language(table, suffix),
        valid_from=table.day("valid_from"),
        body=body.strip(),
        digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
        material=table.flag("material", default=True),
        translated=suffix is not None,
    )
    table.finish()
    if not notice.purposes:
        document.note(1, "missing-key", "the notice names no `purposes`", 'add `purposes = ["…"]`')
    if not notice.body:
        document.note(last, "empty-notice", "the notice has no text", "write what people agree to")
    return NoticeFile(file, notice, document)


def _split(text: str) -> tuple[str | None, str, int]:
    lines = text.splitlines(keepends=True)
    fences = [i for i, line in enumerate(lines) if line.strip() == FENCE][:2]
    if len(fences) < 2 or fences[0] != 0:
        return None, "", 1
    return "".join(lines[1 : fences[1]]), "".join(lines[fences[1] + 1 :]), fences[1] + 1


def _id(table: Table, stem: str) -> str:
    notice = table.text("notice", most=80)
    if notice and (notice != stem or not NOTICE.fullmatch(notice)):
        message = f"the notice calls itself `{notice}` and its file is `{stem[:80]}.md`"
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


ALIKE = ("purposes", "material", "valid_from")
"""Keys that are the same in all languages of a version."""


def check_notices(
    document: Document,
    purposes: Mapping[str, Purpose],
    files: Sequence[NoticeFile],
    findings: Findings,
) -> None:
    """Add findings for contradictions between purposes, their notices, and the languages of one version.

    Args:
        document: purposes.toml.
        purposes: what it declares.
        files: all notices, read.
        findings: receives the mistakes.
    """
    versions: defaultdict[str, list[NoticeFile]] = defaultdict(list)
    for file in files:
        versions[file.id].append(file)
    for translations in versions.values():
        _check_languages(translations, findings)
    for purpose in purposes.values():
        if purpose.rests_on_consent and purpose.notice is not None and NOTICE.fullmatch(purpose.notice):
            _check_named(document, purpose, versions)
            _check_newer(document, purpose, [file.notice for file in files if file.notice is not None])
    for file in files:
        _check_purposes(file, purposes, findings)


def _check_languages(files: Sequence[NoticeFile], findings: Findings) -> None:
    """Find versions without a main language, duplicate languages, and languages that contradict each other."""
    texts = [(file.notice, file.document) for file in files if file.notice is not None and file.document is not None]
    main = next((notice for notice, _document in texts if not notice.translated), None)
    if main is None:
        if len(texts) == len(files):
            message = f"{files[0].id} has translations only"
            remedy = f"call the file of the default language {files[0].id}.md"
            findings.add(files[0].file, 1, "no-main-language", message, remedy)
        return
    languages = {main.language}
    for notice, document in texts:
        if notice is main:
            continue
        if notice.language in languages:
            message = f"{notice.id} is there in `{notice.language}` already"
            document.fault(("language",), "duplicate", message, "keep one of the two files")
        languages.add(notice.language)
        for key in ALIKE:
            value, expected = getattr(notice, key), getattr(main, key)
            if (set(value) != set(expected)) if key == "purposes" else value != expected:
                message = f"`{key}` is not what the notice in `{main.language}` says"
                remedy = f"say the same as {main.file}, or make both a new version"
                document.fault((key,), "languages-differ", message, remedy)


def _check_named(document: Document, purpose: Purpose, versions: Mapping[str, Sequence[NoticeFile]]) -> None:
    """Find a version that a purpose names and that does not exist, or that does not mention the purpose."""
    name, required = purpose.name, purpose.notice or ""
    if required not in versions:
        remedy = did_you_mean(required, versions, f"write notices/{required}.md")
        message = f"[{name}] names the notice `{required}`, which is not there"
        document.fault((name, "notice"), "consent-without-notice", message, remedy)
        return
    notices = [file.notice for file in versions[required]]
    if all(notice is not None and name not in notice.purposes for notice in notices):
        message = f"[{name}] names the notice `{required}`, which does not mention this purpose"
        document.fault((name, "notice"), "notice-of-another", message, f"add it to `purposes` of {required}.md")


def _check_newer(document: Document, purpose: Purpose, notices: Iterable[Notice]) -> None:
    """Find newer versions that leave a purpose out: once one is in force, all consents to the purpose are invalid."""
    name, required = purpose.name, purpose.notice or ""
    notice_name, _, number = required.partition("@")
    for notice in notices:
        newer = notice.name == notice_name and NOTICE.fullmatch(notice.id) and notice.version > int(number)
        if newer and not notice.translated and name not in notice.purposes:
            message = f"[{name}] names the notice `{required}`, and the newer {notice.id} leaves this purpose out"
            remedy = f"add it to `purposes` of {notice.id}.md, or give one of the two a notice of another name"
            document.fault((name, "notice"), "notice-of-another", message, remedy)


def _check_purposes(file: NoticeFile, purposes: Mapping[str, Purpose], findings: Findings) -> None:
    for unknown in [named for named in (file.notice.purposes if file.notice else ()) if named not in purposes]:
        remedy = did_you_mean(unknown, purposes, "take it out")
        message = f"the notice names the unknown purpose `{unknown[:80]}`"
        findings.add(file.file, 1, "unknown-purpose", message, remedy)


FRONT = ("title", "purposes", "language", "material", "valid_from")
_BLANK_LINES = re.compile(r"\n\s*\n")
_BREAK = "\n\n"


class Piece(NamedTuple):
    """Words that are in both texts, only in the old one (``out``) or only in the new one (``in``)."""

    kind: Literal["same", "out", "in"]
    text: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed: keys of the front matter with their old and new values, and the paragraphs that differ."""

    front: dict[str, tuple[object, object]]
    paragraphs: list[list[Piece]]


def compare(old: Notice, new: Notice) -> Changes:
    """Compare two notices."""
    front = {key: (getattr(old, key), getattr(new, key)) for key in FRONT}
    changed = {key: values for key, values in front.items() if values[0] != values[1]}
    return Changes(changed, list(_paragraphs(_split_paragraphs(old.body), _split_paragraphs(new.body))))


def _split_paragraphs(body: str) -> list[str]:
    """Split a text into paragraphs, each on one line, so that other line breaks are no change."""
    return [" ".join(paragraph.split()) for paragraph in _BLANK_LINES.split(body.strip())]


MOST_COMPARED = 250
"""Paragraphs, or words of a paragraph, between the first and the last change, that are compared each with each."""


def _steps(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield the steps from one sequence to another, as difflib does; a single one if too many would be compared."""
    least = min(len(old), len(new))
    head = next((i for i in range(least) if old[i] != new[i]), least)
    tail = next((i for i in range(least - head) if old[-1 - i] != new[-1 - i]), least - head)
    old_end, new_end = len(old) - tail, len(new) - tail
    yield from [("equal", 0, head, 0, head)] if head else []
    before, after = old[head:old_end], new[head:new_end]
    if max(len(before), len(after)) <= MOST_COMPARED:
        for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            yield kind, head + a, head + b, head + c, head + d
    else:
        kind = "replace" if before and after else "delete" if before else "insert"
        yield kind, head, old_end, head, new_end
    yield from [("equal", old_end, len(old), new_end, len(new))] if tail else []


def _paragraphs(old: Sequence[str], new: Sequence[str]) -> Iterator[list[Piece]]:
    for kind, a, b, c, d in _steps(old, new):
        if kind == "equal":
            continue
        if b - a == d - c:  # as many as before: each is the old one, reworded
            yield from (list(_words(*pair)) for pair in zip(old[a:b], new[c:d], strict=True))
        else:
            yield list(_words(_BREAK.join(old[a:b]), _BREAK.join(new[c:d])))


def _words(old: str, new: str) -> Iterator[Piece]:
    before, after = _tokens(old), _tokens(new)
    for kind, a, b, c, d in _steps(before, after):
        if kind == "equal":
            yield Piece("same", _joined(before[a:b]))
        if kind in {"delete", "replace"}:
            yield Piece("out", _joined(before[a:b]))
        if kind in {"insert", "replace"}:
            yield Piece("in", _joined(after[c:d]))


def _tokens(text: str) -> list[str]:
    return re.findall(r"\n\n|\S+", text)


def _joined(tokens: Sequence[str]) -> str:
    return " ".join(tokens).replace(f" {_BREAK} ", _BREAK)


MOST_KEPT = 4096
"""Size of the cache of :meth:`Notices.accepted`; a day has one entry for each purpose."""


class Notices(Mapping[str, Notice]):
    """The notices of a folder by ``name@version``, each in its main language: that of the file without a suffix."""

    def __init__(self, notices: Iterable[Notice] = ()) -> None:
        languages: defaultdict[str, dict[str, Notice]] = defaultdict(dict)
        for notice in sorted(notices, key=lambda notice: (notice.id, notice.translated, notice.language)):
            languages[notice.id].setdefault(notice.language, notice)
        self._languages = {id_: MappingProxyType(texts) for id_, texts in languages.items()}
        self._main = {id_: next(iter(texts.values())) for id_, texts in languages.items()}
        self._digests = {notice.digest: notice for texts in languages.values() for notice in texts.values()}
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

    def languages(self, notice: str) -> Mapping[str, Notice]:
        """Return a version's texts by language, the main one first; empty if there is no such version."""
        return self._languages.get(notice, MappingProxyType({}))

    def texts(self) -> Iterator[Notice]:
        """Yield all versions in all languages."""
        return iter(self._digests.values())

    def by_digest(self, digest: str) -> Notice | None:
        """Return the text that has a hash."""
        return self._digests.get(digest)

    def versions(self, name: str) -> tuple[Notice, ...]:
        """Return all versions of a name, the oldest first, each in its main language."""
        return tuple(self._main[f"{name}@{number}"] for number in sorted(self._numbers.get(name, ())))

    def current(self, name: str, day: date) -> str | None:
        """Return the newest version of a name that is in force on a day."""
        return next((notice.id for notice in reversed(self.versions(name)) if notice.in_force(day)), None)

    def accepted(self, purpose: Purpose, day: date) -> frozenset[str]:
        """Return the versions whose consents are valid for a purpose on a day. The answer is cached.

        They are the newest version in force, which must not be older than the one that the purpose names, and its
        predecessors down to the first material version. The walk ends early at a version that is missing, not in
        force, or about other purposes: a consent is never carried over a gap.
        """
        if purpose.notice is None:
            return frozenset()
        key = (purpose.name, purpose.notice, day)
        accepted = self._kept.get(key)
        if accepted is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            accepted = self._kept[key] = frozenset(self._walk(purpose.name, purpose.notice, day))
        return accepted

    def next_change(self, name: str, day: date) -> date | None:
        """Return the first day after a day on which another version of a name comes into force."""
        starts = [notice.valid_from for notice in self.versions(name) if notice.valid_from is not None]
        return min((start for start in starts if start > day), default=None)

    def _walk(self, purpose: str, required: str, day: date) -> Iterator[str]:
        name, _, least = required.partition("@")
        current = self.current(name, day)
        if current is None or self._main[current].version < int(least):
            return
        for number in range(self._main[current].version, 0, -1):
            notice = self._main.get(f"{name}@{number}")
            if notice is None or not notice.in_force(day) or purpose not in notice.purposes:
                return
            yield notice.id
            if notice.material:
                return
