"""Every code that a caller can meet is explained, and nothing is explained that nobody can meet."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import vault
from vault.http.problem_codes import EXPLAINED, IN_ERRORS

HOUSE = Path(vault.__file__).parent
OF_THE_CONSOLE = {
    "demo-failed", "policy-invalid", "vault-error", "not-signed",  # never leave the command line, or have no instance
    "tenant-exists", "invalid-tenant", "name-taken", "principal-disabled",  # administer's
    "rebuild-index",  # on the audit log, by the operator
    "invalid-name", "invalid-role", "unknown-role", "too-many-roles", "invalid-expiry",  # as above, in `errors`
}  # fmt: skip
OF_NOTICES = {
    "no-answer", "timed-out", "tls-failed", "name-not-found", "address-refused", "refused", "redirected",  # of a post
    "webhook-gone", "webhook-test", "chased", "on-behalf",  # on the audit log
}  # fmt: skip
"""What became of a notice to an app, explained in docs/webhooks.md; no problem has these codes."""
OF_REQUESTS = {
    "by-rule", "several-people", "too-many-people", "in-time", "too-late-for-the-clock", "merged", "keep",
    "unsafe-name", "package-too-large",  # why its job could not go on
}  # fmt: skip
"""Why a request moved, in its history; no problem has these codes."""
OF_FILES = {
    "not-age", "wrong-passphrase",
    "not-a-backup", "backup-damaged", "backup-kept-too-short", "backup-places-alike", "database-damaged",
    "postgresql-tool-failed",
    "not-replayed", "ledger-missing", "denied-again", "replayed", "without-ledger",  # of a restore, and on the audit log
}  # fmt: skip
"""What the command line says of files; no problem has these codes."""
OF_MAPPINGS = {
    "missing-column", "unknown-column", "no-system", "mapping-invalid", "wrong-key", "wrong-value", "missing-key",
}  # fmt: skip
"""What the command line says of mappings for consent files; no problem has these codes."""
OF_FINDINGS = {
    "controller-unstated", "fields-unread", "purpose-undeclared", "purpose-unused", "recipient-unnamed",
}  # fmt: skip
"""Findings of the record of processing, explained in docs/concepts.md; no problem has these codes."""
OF_SWEEPS = {"started"}
"""What a sweep's entry on the audit log says; no problem has this code."""
NO_CODES = {"waiting", "running", "code", "sent"}
"""Words beside a code, in an expression that chooses one."""
ELSEWHERE = (
    "cli",
    *(
        f"imports/{part}"
        for part in ("run", "survey", "store", "reader", "parquet", "mapping", "lines", "task", "chunk", "suggest")
    ),
    *(f"imports/{part}" for part in ("profiles", "records", "workers", "completejourney")),
    "catalogue/collections",
    "catalogue/toml_document",
    "catalogue/purposes",
    "catalogue/retention_actions",
    "governance/record_facts",
    "storage/migrations",
)
"""Codes of import lines and findings are explained where they are shown."""
OF_THE_FRAMEWORK = {"not-found", "method-not-allowed"}


def _trees():
    for path in sorted(HOUSE.rglob("*.py")):
        name = path.relative_to(HOUSE).as_posix()
        if not name.startswith(ELSEWHERE):
            yield name, ast.parse(path.read_text())


def _words(node):
    """List the string constants of an expression: both of ``"a" if x else "b"``."""
    return {item.value for item in ast.walk(node) if isinstance(item, ast.Constant) and isinstance(item.value, str)}


def _used():
    """Collect the codes that our source can raise or answer."""
    own, inner = set(), set()
    for name, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                own |= {w for keyword in node.keywords if keyword.arg == "code" for w in _words(keyword.value)}
                if called == "Refusal" and node.args:
                    own |= _words(node.args[0])
                if called == "Fault" and len(node.args) > 1:
                    inner |= _words(node.args[1])
                if called == "ValueProblem":
                    inner |= _words(node.args[0])
                if called == "_internal_error" and len(node.args) > 1:
                    own |= _words(node.args[1])
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    target = getattr(item, "target", None) or (getattr(item, "targets", None) or [None])[0]
                    if getattr(target, "id", None) == "code" and getattr(item, "value", None) is not None:
                        own |= _words(item.value)
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "code":
                (inner if name == "http/problems.py" else own).update(_words(node.value))
            if name == "policy/decision.py" and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                own |= {w for w in _words(node.value) if w != "purposes.toml" and w != "granted"}
    codes = re.compile(r"[a-z]+(-[a-z]+)*")
    return {w for w in own if codes.fullmatch(w)}, {w for w in inner if codes.fullmatch(w)}


def test_every_code_is_explained():
    own, inner = _used()
    assert {"denied", "not-granted", "consent-missing", "no-value", "stale-revision", "invalid-value"} <= own
    assert {"bad-format", "unknown-field", "invalid-system"} <= inner
    assert (
        own - OF_THE_CONSOLE - OF_NOTICES - OF_REQUESTS - OF_FILES - OF_MAPPINGS - OF_FINDINGS - OF_SWEEPS - NO_CODES
        <= EXPLAINED.keys()
    )
    assert inner - OF_THE_CONSOLE - OF_MAPPINGS <= EXPLAINED.keys() | IN_ERRORS.keys()


def test_every_explained_code_occurs_in_the_code():
    own, inner = _used()
    assert EXPLAINED.keys() <= own | inner | OF_THE_FRAMEWORK
    assert IN_ERRORS.keys() <= inner
    assert not EXPLAINED.keys() & IN_ERRORS.keys()


def test_explanations_are_sentences():
    for code, text in {**EXPLAINED, **IN_ERRORS}.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert text[0].isupper() or text[0] == "`", code
        assert text.endswith("."), code


async def test_the_page_has_a_place_for_every_code(sqlite_node):
    page = await sqlite_node.call(None, "GET", "/problems")
    assert page.headers["content-type"].startswith("text/html")
    for code in (*EXPLAINED, *IN_ERRORS):
        assert f'id="{code}"' in page.text
