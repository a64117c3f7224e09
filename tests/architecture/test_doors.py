"""Each dangerous door is opened by those who are on its list, and by nobody else."""

from __future__ import annotations

import ast

from tests.architecture.source import modules
from vault.crypto import seal
from vault.crypto.seal import SubjectKeys

SEALING = {
    "vault.records.write",
    "vault.records.together",
    "vault.subjects.rows",
    "vault.backup.verify",
    "vault.imports.consents",  # for types only
    "vault.contacts.changes",
    "vault.contacts.personal_data",
    "vault.consent.expiry",
    "vault.consent.record",  # for types only
    "vault.consent.transaction",
    "vault.erasure.start",  # for types only
    "vault.erasure.letter",
    "vault.erasure.verify",
    "vault.erasure.execute",
    "vault.lifecycle.key_fence",  # for types only
    "vault.lifecycle.personal_data",
    "vault.consent.personal_data",  # to tell by which version of a key something was sealed
    "vault.requests.personal_data",  # as above
    "vault.records.search",  # for types only
    "vault.records.matching",
    "vault.records.build_index",
    "vault.imports.profiles",
    "vault.imports.records",
    "vault.letters.send",
    "vault.records.list",
    "vault.merging.duplicates",
    "vault.merging.reseal",
    "vault.merging.merge",
    "vault.export.build",  # for types only
    "vault.export.store",
    "vault.export.download",  # for types only
    "vault.export.collect",  # for types only
    "vault.export.records",
    "vault.records.read",
    "vault.rectification.store",
    "vault.requests.transaction",
    "vault.requests.query",  # for types only
    "vault.requests.verification",
    "vault.records.render",
    "vault.subjects.stand_in",  # made-up values under keys that are stored nowhere
}
"""Who names the seal at all."""

UNSEALING = {
    "vault.records.write",  # old values, for their digests; and is an appended record there already?
    "vault.backup.verify",  # whether a backup's values open with its keys; nobody sees them
    "vault.contacts.personal_data",  # into the package of an access request, which is on the log as it is built
    "vault.consent.expiry",  # is this a child? nobody sees the date
    "vault.consent.transaction",
    "vault.erasure.start",  # what staff keep from an erasure; names and days, and nobody sees the reason
    "vault.erasure.letter",  # where the letter about the erasure goes; nobody sees it
    "vault.erasure.verify",  # whether what stayed still opens; nobody sees it
    # ids and addresses, for their tombstones; and seals again what stays under the one key that stays
    "vault.erasure.execute",
    "vault.lifecycle.personal_data",  # and seals it again, after an erasure or for the one who stays after a merge
    "vault.records.matching",  # what a digest led to is checked
    "vault.records.build_index",  # old values, for their digests; nobody sees them
    "vault.access.cursor",  # a position in a list, which has no value
    "vault.imports.profiles",
    "vault.imports.records",
    "vault.letters.send",  # where a letter goes, and its language; nobody sees either
    "vault.merging.duplicates",  # what a digest led to is checked; nobody sees the value
    "vault.merging.reseal",  # and seals it again under the key of the one who stays
    "vault.export.store",  # a package on its way out, which is on the log before its first byte leaves
    "vault.export.records",  # into the package of an access request, which is on the log as it is built
    "vault.rectification.store",  # what was corrected and said, for the person; staff see statements only
    "vault.requests.transaction",  # what a request says, for the steps that carry it out
    "vault.requests.query",  # the same for staff who may see requests, which is on the log
    "vault.requests.verification",  # what a digest led to is checked; nobody learns whether there is such a person
    "vault.records.render",
}
"""Who opens sealed values. A new name here is a new way for a value to leave: it needs a decision and its audit entry."""

OPENINGS = {name for name in (*dir(SubjectKeys), *seal.__all__, "open_sealed") if name.startswith("open")}
FILES = {
    "path",
    "file",
    "worker",
    "self._runner",
    "self._zip",
    "self._path",
    "task.path",
    "os",
    "self._file",
    "_process",
}
"""Things with an ``open`` that has nothing to do with sealed values."""


def inside(name, *rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def importers(target):
    return {
        module.name
        for module in modules()
        if any(inside(item, target) for item in module.imports) and not inside(module.name, target)
    }


def openers():
    results = set()
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr in OPENINGS and ast.unparse(node.value) not in FILES:
                results.add(module.name)
            if isinstance(node, ast.alias) and node.name in OPENINGS:
                results.add(module.name)
    return {name for name in results if not inside(name, "vault.crypto")}


def test_the_seal_is_named_by_the_operations_that_may():
    outside = {name for name in importers("vault.crypto.seal") if not inside(name, "vault.crypto")}
    assert outside == SEALING


def test_sealed_values_are_opened_by_the_operations_that_may():
    assert openers() == UNSEALING


def test_nobody_fetches_the_opening_by_another_name():
    for module in modules():
        words = {
            node.value
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        calls = {
            node.func.id
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not ("getattr" in calls and words & OPENINGS), module.name
        assert not calls & {"eval", "exec", "__import__"}, module.name


def test_keys_of_people_are_made_and_held_in_crypto_alone():
    for module in modules():
        if not inside(module.name, "vault.crypto"):
            assert "vault.crypto.seal.SubjectKeys" not in module.imports_at_run_time, module.name


def test_what_is_internal_to_crypto_stays_there():
    for part in ("primitive", "key_store", "tenant_keys"):
        outside = {name for name in importers(f"vault.crypto.{part}") if not inside(name, "vault.crypto")}
        assert outside == set(), part


def test_migrations_are_run_by_the_wiring_alone():
    assert {module.name for module in modules() if "vault.storage.migrate.upgrade" in module.imports} == {
        "vault.bootstrap"
    }
    assert {name for name in importers("alembic") if not name.startswith("vault.storage.migrate")} == set()


def test_rooms_and_operations_read_no_environment():
    results = {
        module.name
        for module in modules()
        if any(
            isinstance(node, ast.Attribute)
            and node.attr in {"environ", "getenv", "environb"}
            and ast.unparse(node.value) == "os"
            for node in ast.walk(module.tree)
        )
    }
    inner = {
        name
        for name in results
        if not inside(name, "vault.api", "vault.server", "vault.cli", "vault.bootstrap", "vault.settings")
    }
    assert inner == {"vault.crypto.providers"}  # whose root key may lie there


def test_audit_entries_are_written_by_the_ledger_alone():
    tables = {"vault.audit.log.ENTRY", "vault.audit.log.SUBJECT", "vault.audit.log.BATCH"}
    assert {module.name for module in modules() if module.imports & tables} == set()


def test_sensitive_values_are_revealed_where_they_are_used():
    results = {
        module.name
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reveal"
    }
    revealing = ("vault.erasure.letter", "vault.identity.codes", "vault.letters.send", "vault.recipients.webhooks")
    assert all(inside(name, "vault.cli", "vault.principals", "vault.crypto", *revealing) for name in results), results
