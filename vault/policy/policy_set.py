"""A whole policy folder: loaded at once, checked as a whole, named by the hash of what it says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.catalogue.check_notices import check_notices
from vault.catalogue.check_retention import check_retention
from vault.catalogue.collections import load_catalogue
from vault.catalogue.consent import ConsentRules, load_consent
from vault.catalogue.controller import Controller, load_controller
from vault.catalogue.findings import Finding, Findings
from vault.catalogue.notices import load_notice
from vault.catalogue.purposes import NOTICE, check_needed, load_purposes
from vault.catalogue.read_retention import load_retention
from vault.catalogue.requests import RequestRules, load_requests
from vault.catalogue.retention import Retention
from vault.catalogue.toml_document import Document
from vault.catalogue.translations import NO_WORDS, WORDS, Words, load_words
from vault.catalogue.versions import Notices
from vault.errors import PolicyInvalid
from vault.ids import PolicyVersion
from vault.policy.enforcer import check_model
from vault.policy.folder import FILES, NOTICES, is_known, read_folder, tidied
from vault.policy.read_rules import RuleReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vault.catalogue.model import Catalogue, Purpose
    from vault.catalogue.retention import Rule as RetentionRule
    from vault.policy.rules import RuleTable

__all__ = ["Finding", "PolicySet"]


@dataclass(frozen=True, slots=True, eq=False)
class PolicySet:
    """What a policy folder says. ``files`` are its texts by path, ``version`` the hash over them."""

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
        """Return the rules of retention by purpose; ``schedule`` has the limits and all else beside them."""
        return self.schedule.rules

    @property
    def model(self) -> str:
        """Return the text of casbin's model."""
        return self.files["model.conf"]

    def words_in(self, language: str) -> Words:
        """Return what fields and purposes are called in a language; none where the folder has no words of it."""
        return self.words.get(language, NO_WORDS)

    @classmethod
    def from_folder(cls, path: Path) -> PolicySet:
        """Read a folder and load it; dotfiles and files that the vault does not know are left out.

        Raises:
            PolicyInvalid: something is wrong with it; ``findings`` has all of that.
        """
        findings = Findings()
        files = read_folder(path, findings)
        return _load(files, findings)

    @classmethod
    def load(cls, files: Mapping[str, str]) -> PolicySet:
        """Load the texts of a folder, by path within it.

        Raises:
            PolicyInvalid: something is wrong with them; ``findings`` has all of that.
        """
        return _load(files, Findings())


def version_of(files: Mapping[str, str]) -> PolicyVersion:
    """Hash a folder: SHA-256 over the paths in order with their texts, each with its length before it.

    The lengths keep apart folders whose texts run together to the same bytes.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        for part in (path.encode(), files[path].encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return PolicyVersion("sha256:" + digest.hexdigest())


def _load(given: Mapping[str, str], findings: Findings) -> PolicySet:
    known = [path for path in sorted(given) if is_known(path)]
    files = {path: tidied(path, given[path], findings) for path in known}
    noted = {finding.file for finding in findings.sorted()}
    for missing in [name for name in FILES if name not in files and name not in noted]:
        findings.add(
            missing, 1, "missing-file", "the file is not there", "copy it from the policies that the vault ships"
        )
    loaded = _parse(files, findings)
    if len(findings) or loaded is None:
        found = findings.sorted()
        count = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
        raise PolicyInvalid(
            f"the policies have {count}", findings=found, hint="`cdv policy check` lists them with file and line"
        )
    return loaded


def _parse(files: Mapping[str, str], findings: Findings) -> PolicySet | None:
    """Parse file after file; where one cannot be read, what names its contents is not checked against it."""
    fields = _document("catalogue.toml", files, findings)
    reasons = _document("purposes.toml", files, findings)
    periods = _document("retention.toml", files, findings)
    catalogue = load_catalogue(fields) if fields else None
    purposes = load_purposes(reasons, catalogue) if reasons else None
    notices = [load_notice(path, text, findings) for path, text in files.items() if NOTICES.fullmatch(path)]
    consents = _document("consent.toml", files, findings)
    controller = _document("controller.toml", files, findings)
    handling = _document("requests.toml", files, findings)
    retention = load_retention(periods, catalogue, purposes or {}) if periods else Retention()
    asked = load_consent(consents, purposes) if consents else ConsentRules()
    stated = load_controller(controller) if controller else Controller()
    handled = load_requests(handling) if handling else RequestRules()
    rules = RuleReader(findings, catalogue, purposes).read(files.get("policy.csv", ""))
    if "model.conf" in files:
        check_model(files["model.conf"], findings)
    if catalogue is None or fields is None or purposes is None or reasons is None:
        return None
    check_needed(fields, catalogue, purposes.values())
    check_notices(reasons, purposes, notices, findings)
    if periods and not findings.about("catalogue.toml", "purposes.toml", "retention.toml"):
        check_retention(periods, catalogue, purposes, retention)  # else it would find what follows from those
    named = Notices(each.notice for each in notices if each.notice and NOTICE.fullmatch(each.id))
    words = _words(files, findings, catalogue, purposes)
    return PolicySet(
        files, version_of(files), catalogue, purposes, named, retention, rules, asked, stated, handled, words
    )


def _words(
    files: Mapping[str, str], findings: Findings, catalogue: Catalogue, purposes: Mapping[str, Purpose]
) -> dict[str, Words]:
    named = {path: match["language"] for path in files if (match := WORDS.fullmatch(path))}
    documents = {language: _document(path, files, findings) for path, language in named.items()}
    return {language: load_words(each, catalogue, purposes) for language, each in documents.items() if each}


def _document(path: str, files: Mapping[str, str], findings: Findings) -> Document | None:
    """Parse a TOML file; ``None`` where that is not possible, which is then noted."""
    if path not in files:
        return None
    document = Document(path, files[path], findings)
    return document if document.sound else None
