"""Shared by the tests of imports: files, mappings, and queries for the result."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import msgspec

from vault.bootstrap import open_vault
from vault.ids import TenantId
from vault.imports.mapping import parse_mapping
from vault.imports.run import ImportRequest, Watcher, import_file

PEOPLE = """
purpose = "order-fulfilment"
source = "old-crm"

[external_ids]
shop = "no"

[fields]
name = "name"
email = "mail"
language = { constant = "en" }
"""
PURCHASES = """
purpose = "order-fulfilment"
collection = "purchase"

[subject]
system = "shop"
id = "customer"

[record]
external_id = "line"
occurred_at = "at"

[fields]
amount = "amount"
currency = { constant = "EUR" }
"""


class Faults(Watcher):
    """Collects the faults of an import."""

    def __init__(self):
        self.faults = []
        self.lines = 0
        self.resumed = None

    def began(self, lines, *, resumed):
        self.resumed = resumed

    def advanced(self, lines):
        self.lines += lines

    def refused(self, fault):
        self.faults.append(fault)

    @property
    def told(self):
        return [(fault.line, fault.code, fault.field) for fault in self.faults]


def write_csv(path: Path, header: str, *rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(row.split(",") if isinstance(row, str) else row for row in rows)
    return path


def write_jsonl(path: Path, *rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def people_csv(path: Path, count: int, start: int = 0) -> Path:
    rows = (f"{n},Person {n},person.{n}@example.org" for n in range(start, start + count))
    return write_csv(path, "no,name,mail", *rows)


async def bring_in(node, path, mapping: str | None = PEOPLE, *, watcher=None, tenant="default", **how):
    """Import a file; returns the report."""
    opener = partial(open_vault, node.place.folder, **node.place.urls)
    parsed = None if mapping is None else parse_mapping(mapping)
    asked = ImportRequest(path, parsed, tenant=TenantId(tenant), **how)
    return await import_file(node.services, opener, asked, watcher)


def counts(report):
    return report.created, report.updated, report.unchanged, report.refused


async def rows_of(node) -> dict[str, int]:
    """Count the rows of all tables that an import fills."""
    result = {}
    for table in ("subject", "record", "external_ref", "blind_index", "audit_subject", "import_chunk"):
        ((result[table],),) = await node.sql(f"SELECT count(*) FROM {table}")
    if node.services.data.dialect == "postgresql":  # where batches lead to their people by arrays
        ((batched,),) = await node.sql("SELECT coalesce(sum(cardinality(pseudonyms)), 0) FROM audit_batch")
        result["audit_subject"] += batched
    return result


async def subject_of(node, value, system="shop", tenant="default"):
    """Find a subject by an external id."""
    from vault.subjects.rows import external_digest

    keys = await node.services.keyring.index_keys(TenantId(tenant))
    digest = external_digest(keys, system, value)
    return (await node.services.subjects.by_external(TenantId(tenant), [digest]))[digest]


async def read(node, subject, *fields, purpose="subject-rights", role="dpo"):
    """Read fields the way an app does."""
    from vault.records.read import read_fields

    answer = await read_fields(
        node.services, await node.caller(role), subjects=[subject], fields=fields, purpose=purpose
    )
    return msgspec.json.decode(msgspec.json.encode(answer.results[0].fields))
