"""Shared by the tests of reads after an end: rules whose days can be counted by hand, and a subject to read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec
from sqlalchemy import delete, select, update

from tests.policy.folders import shipped
from tests.support import FixedClock
from tests.vaults import ADA
from vault.consent.model import ConsentState, pack
from vault.crypto.seal import record_aad as sealed_at
from vault.governance.tenants import apply_policies
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.policy.policy_set import PolicySet
from vault.records.list import list_records
from vault.records.read import explain, read_fields
from vault.records.search import find_subjects
from vault.records.write import ProfileInput, RecordInput, append_record, create_subject
from vault.subjects.rows import Stored, digests, unpack
from vault.subjects.rows import pack as pack_body
from vault.subjects.store import PageQuery
from vault.subjects.tables import BLIND_INDEX, RECORD

KEPT = {
    "order-fulfilment": 'keep = "P3Y"\nsince = "last-contact"\nat_end = { birth_date = "birth_date.year" }',
    "customer-support": 'keep = "P2Y"\nsince = "collected"',
    "complaint-handling": 'keep = "P1Y"\nsince = "collected"\nbrought_by = ["complaint"]',
    "accounting": 'keep = "P10Y"\nsince = "collected"\nbrought_by = ["purchase"]',
    "fraud-prevention": 'keep = "P1Y"\nsince = "collected"',
    "service-analytics": 'keep = "P2Y"\nsince = "collected"\nfields = { "birth_date.year" = "P10Y" }',
    "direct-marketing": 'keep = "P1Y"\nsince = "last-contact"',
    "partner-advertising": 'keep = "P1Y"\nsince = "last-contact"',
    "profiling": 'keep = "P1Y"\nsince = "collected"',
    "loyalty-programme": 'keep = "P1Y"\nsince = "collected"',
    "health-advice": 'keep = "P1Y"\nsince = "collected"',
}
START = date(2026, 3, 5)
"""The day on which every profile is created."""


def policies(extra: str = "", **other: str) -> PolicySet:
    """The shipped policies with retention rules whose days are easy to count."""
    rules = KEPT | {name.replace("_", "-"): text for name, text in other.items()}
    text = "\n".join(f'[purpose.{name}]\n{text}\nreason = "it takes so long"\n' for name, text in rules.items())
    return PolicySet.load(shipped() | {"retention.toml": f'{text}\n[unclaimed]\nkeep = "P30D"\n{extra}'})


def at(day: date, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


@dataclass
class Desk:
    """Calls a node's operations as the apps of its roles; API keys would expire before the data."""

    node: object
    clock: FixedClock
    callers: dict

    @classmethod
    async def at(
        cls, node, clock, policy_set=None, roles=("sales", "support", "fulfilment", "finance", "analytics", "dpo")
    ):
        await apply_policies(node.services, DEFAULT_TENANT, policy_set or policies())
        return cls(node, clock, {role: await node.caller(role) for role in roles})

    @property
    def services(self):
        return self.node.services

    def on(self, day: date, hour: int = 0, minute: int = 0) -> None:
        self.clock.advance(seconds=(at(day, hour, minute) - self.clock.now()).total_seconds())

    async def person(self, **more) -> SubjectId:
        profile = ProfileInput(ADA | more, "order-fulfilment")
        return (await create_subject(self.services, self.callers["sales"], profile)).id

    async def bought(self, subject, day: date, order: str = "A-1", **more) -> None:
        fields = {"order": order, "amount": "1.00", "currency": "EUR"}
        record = RecordInput("purchase", fields, "order-fulfilment", **{"occurred_at": at(day, 9), **more})
        await append_record(self.services, self.callers["sales"], subject, record)

    async def read(self, role, purpose, fields, *subjects):
        """The shown values and the refusals of one subject, or of each of several."""
        asked = {"subjects": subjects, "fields": fields, "purpose": purpose}
        answer = await read_fields(self.services, self.callers[role], **asked)
        answers = [({k: plain(v) for k, v in result.fields.items()}, codes(result.denied)) for result in answer.results]
        return answers[0] if len(answers) == 1 else answers

    async def list(self, role, purpose, fields, subject):
        how = {"fields": fields, "purpose": purpose}
        query = PageQuery(subject, "purchase")
        page = await list_records(self.services, self.callers[role], query, **how)
        return [({k: plain(v) for k, v in record.fields.items()}, codes(record.denied)) for record in page.records]

    async def find(self, role, purpose, match, fields=()):
        answer = await find_subjects(self.services, self.callers[role], match=match, fields=fields, purpose=purpose)
        return [result.subject for result in answer.results], [codes(result.denied) for result in answer.results]

    async def explain(self, role, purpose, fields, subject):
        answer = await explain(self.services, self.callers[role], fields=fields, purpose=purpose, subject=subject)
        return {asked: (item.allowed, item.step, item.code) for asked, item in answer.fields.items()}

    async def hold(self, subject, *holds) -> None:
        """Set holds on the subject's row."""
        async with self.services.data.transaction() as connection:
            marked = pack(ConsentState(holds=holds))
            row = await self.services.subjects.locked(connection, DEFAULT_TENANT, subject)
            await self.services.subjects.set_standing(connection, row, marked, restricted=row.state == "restricted")

    async def reseal(self, subject, change, collection="profile") -> None:
        """Rewrite a record's body: ``change(values, seal)`` makes the new values from the old."""
        async with self.services.data.transaction() as connection:
            wanted = (RECORD.c.subject_id == subject) & (RECORD.c.collection == collection)
            row = (await connection.execute(select(RECORD).where(wanted))).one()
            keys = (await self.services.keyring.subject_keys(DEFAULT_TENANT, [subject]))[subject]
            where = sealed_at(DEFAULT_TENANT, subject, collection, row.id)
            body = change(unpack(row.body), lambda name, plain: keys.seal(name, plain, where))
            packed = body if isinstance(body, bytes) else pack_body(body, row.occurred_at)
            await connection.execute(update(RECORD).where(RECORD.c.id == row.id).values(body=packed))

    async def generalise(self, subject, field: str, view: str, plain: bytes) -> None:
        """Put a view in the place of a value of ADA's, and take the value off the index, as a sweep does.

        The value's digest must not stay: with the 12 bits of a date of birth, that of a later value may be equal.
        """
        await self.reseal(subject, generalised(field, view, plain))
        index_keys = await self.services.keyring.index_keys(DEFAULT_TENANT)
        declared = (
            self.services.policies.active(DEFAULT_TENANT).policy_set.catalogue.collections["profile"].fields[field]
        )
        stale = BLIND_INDEX.c.digest.in_(digests(index_keys, declared, ADA[field]))
        async with self.services.data.transaction() as connection:
            await connection.execute(delete(BLIND_INDEX).where(BLIND_INDEX.c.subject_id == subject, stale))


def generalised(field: str, view: str, plain: bytes):
    """A change that replaces a value by a view, as a sweep does."""

    def change(body, seal):
        stored: Stored = body.pop(field)
        name = f"{field}.{view}"
        kept = Stored(seal(name, plain), stored.source, stored.collected_at, purpose=stored.purpose)
        return body | {name: kept}

    return change


def codes(denied):
    return {asked: refusal.code for asked, refusal in denied.items()}


def plain(value):
    """A shown value, whether it came as JSON or not."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
