"""A policy folder: read and checked as a whole, and named by the hash of its contents."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.catalogue.collections import load_catalogue
from vault.catalogue.company import ConsentRules, Controller, RequestRules, load_consent, load_controller, load_requests
from vault.catalogue.notices import Notices, check_notices, load_notice
from vault.catalogue.purposes import NOTICE, check_needed, load_purposes
from vault.catalogue.retention import Retention, check_retention, load_retention
from vault.catalogue.toml_document import Document, Finding, Findings
from vault.catalogue.translations import WORDS, Words, load_words
from vault.errors import PolicyInvalid
from vault.ids import PolicyVersion
from vault.policy.enforcer import check_model
from vault.policy.rules import RuleReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vault.catalogue.model import Catalogue, Purpose
    from vault.catalogue.retention import Rule as RetentionRule
    from vault.policy.rules import RuleTable


__all__ = ["Finding", "PolicySet"]


@dataclass(frozen=True, slots=True, eq=False)
class PolicySet:
    """A policy folder. ``files`` are its texts by path, ``version`` is the hash over them."""

    files: Mapping[str, str] = field(repr=False)
    version: PolicyVersion
    catalogue: Catalogue = field(repr=False)
    purposes: Mapping[str, Purpose] = field(repr=False)
    notices: Notices = field(repr=False)
    schedule: Retention = field(repr=False)
    rules: RuleTable = field(repr=False)
    consent: ConsentRules = field(repr=False)
    controller: Controller = field(repr=False)
    requests: RequestRules = field(default_factory=RequestRules, repr=False)
    words: Mapping[str, Words] = field(default_factory=dict, repr=False)

    @property
    def retention(self) -> Mapping[str, RetentionRule]:
        """Return the rules of retention by purpose; ``schedule`` has the limits too."""
        return self.schedule.rules

    def words_in(self, language: str) -> Words:
        """Return the translations into a language; empty if the folder has none."""
        return self.words.get(language, Words())

    @classmethod
    def from_folder(cls, path: Path) -> PolicySet:
        """Read a folder and load it; dotfiles and unknown files are ignored.

        Raises:
            PolicyInvalid: it has mistakes; ``findings`` lists all of them.
        """
        findings = Findings()
        return _load(read_folder(path, findings), findings)

    @classmethod
    def load(cls, files: Mapping[str, str]) -> PolicySet:
        """Load the texts of a folder, by path within it.

        Raises:
            PolicyInvalid: they have mistakes; ``findings`` lists all of them.
        """
        return _load(files, Findings())


def version_of(files: Mapping[str, str]) -> PolicyVersion:
    """Hash a folder: SHA-256 over the sorted paths with their texts, each preceded by its length."""
    digest = hashlib.sha256()
    for path in sorted(files):
        for part in (path.encode(), files[path].encode()):
            # Without the lengths, two folders whose texts join to the same bytes would have the same version.
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return PolicyVersion("sha256:" + digest.hexdigest())


def _load(texts: Mapping[str, str], findings: Findings) -> PolicySet:
    known = [path for path in sorted(texts) if is_known(path)]
    files = {path: tidied(path, texts[path], findings) for path in known}
    noted = {finding.file for finding in findings.sorted()}
    for missing in [name for name in FILES if name not in files and name not in noted]:
        findings.add(
            missing, 1, "missing-file", "the file is not there", "copy it from the policies that the vault ships"
        )
    loaded = _parse(files, findings)
    if len(findings) or loaded is None:
        mistakes = findings.sorted()
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise PolicyInvalid(
            f"the policies have {count}", findings=mistakes, hint="`cdv policy check` lists them with file and line"
        )
    return loaded


def _parse(files: Mapping[str, str], findings: Findings) -> PolicySet | None:
    """Parse all files. References to a file that cannot be read are not checked."""
    fields = _document("catalogue.toml", files, findings)
    reasons = _document("purposes.toml", files, findings)
    periods = _document("retention.toml", files, findings)
    catalogue = load_catalogue(fields) if fields else None
    purposes = load_purposes(reasons, catalogue) if reasons else None
    notice_files = [load_notice(path, text, findings) for path, text in files.items() if NOTICES.fullmatch(path)]
    consents = _document("consent.toml", files, findings)
    controller = _document("controller.toml", files, findings)
    handling = _document("requests.toml", files, findings)
    retention = load_retention(periods, catalogue, purposes or {}) if periods else Retention()
    consent_rules = load_consent(consents, purposes) if consents else ConsentRules()
    named_controller = load_controller(controller) if controller else Controller()
    request_rules = load_requests(handling) if handling else RequestRules()
    rules = RuleReader(findings, catalogue, purposes).read(files.get("policy.csv", ""))
    if "model.conf" in files:
        check_model(files["model.conf"], findings)
    if catalogue is None or fields is None or purposes is None or reasons is None:
        return None
    check_needed(fields, catalogue, purposes.values())
    check_notices(reasons, purposes, notice_files, findings)
    if periods and not findings.about("catalogue.toml", "purposes.toml", "retention.toml"):
        check_retention(periods, catalogue, purposes, retention)  # else it would report consequences of those findings
    notices = Notices(file.notice for file in notice_files if file.notice and NOTICE.fullmatch(file.id))
    words = _words(files, findings, catalogue, purposes)
    return PolicySet(
        files,
        version_of(files),
        catalogue,
        purposes,
        notices,
        retention,
        rules,
        consent_rules,
        named_controller,
        request_rules,
        words,
    )


def _words(
    files: Mapping[str, str], findings: Findings, catalogue: Catalogue, purposes: Mapping[str, Purpose]
) -> dict[str, Words]:
    languages = {path: match["language"] for path in files if (match := WORDS.fullmatch(path))}
    documents = {language: _document(path, files, findings) for path, language in languages.items()}
    return {language: load_words(document, catalogue, purposes) for language, document in documents.items() if document}


def _document(path: str, files: Mapping[str, str], findings: Findings) -> Document | None:
    """Parse a TOML file; ``None`` if it is missing or invalid, which is a finding."""
    if path not in files:
        return None
    document = Document(path, files[path], findings)
    return document if document.sound else None


FILES = ("catalogue.toml", "purposes.toml", "retention.toml", "model.conf", "policy.csv")
OPTIONAL = ("consent.toml", "controller.toml", "requests.toml")
"""Files that have defaults, so that older folders still load."""
NOTICES = re.compile(r"notices/[^./][^/]*\.md")
MOST_BYTES = 4 * 1024 * 1024
"""Largest file that is read: ten thousand rules are 700 kB, and a larger file is likely not a policy."""
MOST_NOTICES = 1000


def is_known(name: str) -> bool:
    """Return whether a path in the folder is that of a policy file."""
    return name in FILES or name in OPTIONAL or any(pattern.fullmatch(name) is not None for pattern in (WORDS, NOTICES))


def read_folder(folder: Path, findings: Findings) -> dict[str, str]:
    """Read the known files; returns the texts by path. Files that cannot be read are findings."""
    if not folder.is_dir():
        findings.add("", 1, "missing-folder", "there is no such folder", "name the policy folder; `cdv init` makes one")
        return {}
    root = folder.resolve()
    paths = [folder / name for name in (*FILES, *OPTIONAL)]
    paths += sorted(path for path in folder.glob("words.*.toml") if is_known(path.name))
    paths += sorted(folder.glob("notices/*.md"))[:MOST_NOTICES]
    files: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if is_known(name):
            text = _read(path, root, name, findings)
            if text is not None:
                files[name] = text
    return files


def _read(path: Path, root: Path, name: str, findings: Findings) -> str | None:
    if not path.resolve().is_relative_to(root):
        message, remedy = "the file is a link that leads out of the folder", "put a copy of the file here"
        findings.add(name, 1, "link-outside", message, remedy)
        return None
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        findings.add(name, 1, "unreadable", "the file cannot be read", "check its owner and mode")
        return None
    return _decoded(content, name, findings)


def _decoded(content: bytes, name: str, findings: Findings) -> str | None:
    if len(content) > MOST_BYTES:
        message = f"the file is larger than {MOST_BYTES // 1024 // 1024} MiB"
        findings.add(name, 1, "too-large", message, "keep policies and nothing else in it")
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        findings.add(name, line, "not-utf-8", "the file is not UTF-8", "save it as UTF-8")
        return None


def tidied(name: str, text: str, findings: Findings) -> str:
    """Return a text with Unix line ends. Characters that a database cannot store are findings."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        findings.add(name, line, "not-text", "the file holds the character NUL", "take it out")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        findings.add(name, 1, "not-utf-8", "the file is not UTF-8", "save it as UTF-8")
        return ""
    return text.replace("\r\n", "\n")
