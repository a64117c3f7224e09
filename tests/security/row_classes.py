"""How each column of each table is protected from an attacker who may write to the databases, or why it need not be.

``sealed``: authenticated encryption, bound to its place. ``wrapped``: a sealed key. ``digest``: keyed, or the hash that is
checked when the content is used. ``not deciding``: what a change can do is in the threat model, and it shows no value.
A table in ``MACED`` has a MAC over every column except those in ``UNCOVERED``.
"""

from __future__ import annotations

from typing import NamedTuple

from vault.consent.store import CONFIRMATIONS
from vault.contacts.shared import SHARED
from vault.identity.tables import CODES, SESSIONS
from vault.policy.store import VERSIONS
from vault.principals.store import API_KEYS, PRINCIPALS
from vault.recipients.store import WEBHOOKS
from vault.requests.store import REQUESTS
from vault.subjects.tables import SUBJECTS

MACED = {
    each.table.name: each
    for each in (PRINCIPALS, API_KEYS, VERSIONS, SESSIONS, CODES, CONFIRMATIONS, WEBHOOKS, REQUESTS, SHARED, SUBJECTS)
}
UNCOVERED: dict[str, dict[str, str]] = {}


class Part(NamedTuple):
    """Some columns of a table that are protected alike."""

    kind: str
    columns: tuple[str, ...]
    why: str = ""


def sealed(*columns: str) -> Part:
    return Part("sealed", columns)


def wrapped(*columns: str) -> Part:
    return Part("wrapped", columns)


def digest(*columns: str) -> Part:
    return Part("digest", columns)


def free(why: str, *columns: str) -> Part:
    return Part("not deciding", columns, why)


FOUND = "a value is sealed for this place: a row that is moved does not open"
CLASSES: dict[str, list[Part]] = {
    "audit_batch": [
        free("the audit log records what was done, and decides nothing", "tenant_id", "entry_id", "pseudonyms")
    ],
    "audit_entry": [
        free(
            "the audit log records what was done, and decides nothing",
            *("tenant_id", "id", "at", "principal_id", "action", "decision", "purpose", "body", "leaf", "number"),
        ),
    ],
    "audit_subject": [
        free("the audit log records what was done, and decides nothing", "tenant_id", "pseudonym", "entry_id")
    ],
    "blind_index": [
        digest("digest"),
        free("hits are checked against the opened value", "tenant_id", "subject_id", "record_id", "version"),
    ],
    "consent_event": [
        free(
            "reads decide by the state on the subject's row, which has a MAC; this is the history",
            *("tenant_id", "subject_id", "id", "purpose", "kind", "occurred_at", "recorded_at", "body"),
        )
    ],
    "erasure": [
        free(
            "an erasure shows nothing; a forged one destroys what its row names, as deleting rows would",
            *("tenant_id", "id", "request_id", "subject_id", "state", "started_at", "changed_at", "finished_at"),
            *("key_version", "body", "certificate"),
        ),
        sealed("addressee"),
    ],
    "external_ref": [
        digest("digest"),
        free("leads an id of another system to another person, whom its app may read already", "tenant_id"),
        free("as above; who asks is asked for the fields of the person it leads to", "subject_id", "version"),
    ],
    "hold": [
        free(
            "what is held is on the subject's row, which has a MAC; this is the list for staff, who lift it",
            *("tenant_id", "id", "state", "review_on", "placed_at", "lifted_at", "body"),
        )
    ],
    "hold_subject": [
        free("as the hold: a row that is deleted releases no one", "tenant_id", "hold_id", "subject_id", "erasure_id")
    ],
    "idempotency": [
        digest("key_digest", "call_digest"),
        free("an answer without values is repeated to its own caller", "tenant_id", "principal_id", "started_at"),
        free("as above", "status", "answer"),
    ],
    "import_chunk": [
        free(
            "counts of an import",
            *("tenant_id", "run_id", "number", "created", "updated", "unchanged", "refused", "faults"),
        )
    ],
    "import_run": [
        digest("fingerprint"),
        free(
            "counts of an import",
            *("tenant_id", "id", "chunk_lines", "started_at", "finished_at"),
            *("created", "updated", "unchanged", "refused"),
        ),
    ],
    "index_build": [
        free(
            "an index that is said to lead to all people finds fewer, as if its rows were deleted; it shows no value",
            *("tenant_id", "name", "id", "started_at", "cursor", "people", "total"),
        )
    ],
    "notice_text": [
        Part("hash", ("digest", "body")),
        free("names of a text whose hash is in the consents to it", "tenant_id", "notice", "language", "recorded_at"),
    ],
    "package": [
        sealed("digest", "size", "chunks"),
        free("the pieces are sealed for the person and the package", "tenant_id", "id", "request_id", "subject_id"),
        free("as above: a package of another person does not open", "state", "created_at", "expires_at", "body"),
    ],
    "package_chunk": [sealed("body"), free(FOUND, "tenant_id", "package_id", "number")],
    "rate_window": [
        free(
            "how often, not what; the threat model says so", "tenant_id", "principal_id", "kind", "window_start", "used"
        )
    ],
    "recipient_notice": [
        free(
            "a notice has ids and names of fields; it suppresses or repeats what an app is told",
            *("tenant_id", "id", "principal_id", "subject_id", "request_id", "kind", "state", "created_at", "round"),
            *("attempts", "next_at", "last_status", "last_code", "delivered_at", "acknowledged_at"),
            *("acknowledged_by", "chased_at", "chases", "body"),
        )
    ],
    "record": [
        sealed("body"),
        digest("external_digest"),
        free(FOUND, "tenant_id", "subject_id", "collection", "id"),
        free(
            "when a value was written and when the sweep looks at it",
            *("revision", "created_at", "updated_at", "occurred_at", "due_at"),
        ),
    ],
    "rectification": [
        sealed("details"),
        free(FOUND, "tenant_id", "subject_id", "id", "request_id", "collection", "record_id", "field"),
        free("who corrected when", "state", "at", "closed_at", "by_id"),
    ],
    "request_event": [free("the history of a request", "tenant_id", "request_id", "number", "at", "body")],
    "restore": [
        free(
            "the gate of a restored vault",
            *("id", "backup_id", "backed_up_at", "restored_at", "replayed_at", "body"),
        )
    ],
    "retention_review": [
        free(
            "keeps a value longer or shorter, for the purposes that see it",
            *("tenant_id", "id", "subject_id", "collection", "record_id", "field", "kind", "state"),
            *("ended_on", "keep_until", "created_at", "decided_at", "decided_by"),
        )
    ],
    "retention_sweep": [
        free(
            "the progress of a sweep",
            *("tenant_id", "id", "kind", "policy", "started_at", "changed_at", "finished_at"),
            *("cursor", "runner", "body"),
        )
    ],
    "subject_alias": [
        free(
            "leads the id of a merged person to another",
            "tenant_id",
            "alias_id",
            "subject_id",
            "entry_id",
            "created_at",
        )
    ],
    "subject_clock": [free("until when values are kept", "tenant_id", "subject_id", "kind", "at")],
    "tombstone": [
        digest("digest"),
        free("shows that an erased person came back", "tenant_id", "kind", "erasure_id", "created_at"),
    ],
    "contact_change": [
        sealed("former"),
        free(
            "without its row an address counts as an old one, so a MAC would not help; the threat model says so",
            *("tenant_id", "subject_id", "id", "field", "kind", "changed_at", "told_at"),
        ),
    ],
    "data_key": [
        wrapped("wrapped"),
        free(FOUND, "tenant_id", "subject_id", "version", "tenant_key_version", "created_at"),
    ],
    "row_version": [free("the key store, which is another's", "tenant_id", "table_name", "row_id", "version")],
    "tenant_key": [wrapped("wrapped"), free(FOUND, "tenant_id", "version", "root_reference", "created_at")],
    "tenant_secret": [wrapped("wrapped"), free(FOUND, "tenant_id", "kind", "version", "root_reference", "created_at")],
    "tombstone_ledger": [
        free("a database of its own; the threat model says so", "tenant_id", "id", "at", "kind", "subject_id", "body")
    ],
}
