"""Subjects whose retention has ended, and their stored values read without access control."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import count
from types import SimpleNamespace
from uuid import UUID

from sqlalchemy import select

from tests.erasure.people import buy, keys_of, rows_of, somebody, state_of
from tests.vaults import ADA
from vault.catalogue.types import decode
from vault.crypto.seal import record_aad
from vault.ids import DEFAULT_TENANT
from vault.policy.policy_set import PolicySet
from vault.subjects.rows import unpack
from vault.subjects.tables import RECORD
from vault.sweep.query import sweep
from vault.sweep.run import Pace

__all__ = ["ADA", "DEFAULT_TENANT", "buy", "keys_of", "rows_of", "somebody", "state_of"]

REVIEWED = """by_relationship = { former = "P1Y" } # who"""
"""The line of the shipped schedule at which a test adds rules for customer-support."""
START = date(2026, 3, 5)


async def swept(node, **how):
    """Sweep without pacing; returns the counts."""
    run = await sweep(node.services, DEFAULT_TENANT, pace=unpaced(), **how)
    assert run is not None
    assert run.finished_at is not None
    return SimpleNamespace(**run.counts.by_name())


def unpaced(per_minute: int = 1_000_000_000) -> Pace:
    async def sleep(_seconds):
        raise AssertionError("nobody waits")

    seconds = map(float, count())  # it is a second later whenever somebody looks
    return (
        Pace(per_minute, lambda: next(seconds), sleep)
        if per_minute > 10**6
        else Pace(per_minute, lambda: 0.0, _at_once)
    )


async def _at_once(_seconds) -> None:
    return None


def go_to(clock, day: date, hour: int = 0) -> None:
    """Set the clock to a day, at midnight by default."""
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    clock.advance(seconds=(moment - clock.now()).total_seconds())


async def there(node, subject) -> dict[str, list]:
    """Open every stored value of a subject without access control: by collection and name in the body."""
    whom = UUID(str(subject))
    node.services.keyring.evict(DEFAULT_TENANT, whom)
    keys = (await node.services.keyring.subject_keys(DEFAULT_TENANT, [whom])).get(whom)
    async with node.services.data.reading() as connection:
        rows = (await connection.execute(select(RECORD).where(RECORD.c.subject_id == whom))).all()
    result: dict[str, list] = {}
    for row in rows:
        where = record_aad(DEFAULT_TENANT, whom, row.collection, row.id)
        for name, stored in unpack(row.body).items():
            value = decode(keys.open(name, stored.sealed, where))
            result.setdefault(f"{row.collection}.{name}", []).append(value)
    return result


async def put_in_force(node, *changes) -> None:
    """Activate the shipped policies with changes in retention.toml."""
    files = dict(node.services.policies.active(DEFAULT_TENANT).policy_set.files)
    for old, new in changes:
        assert old in files["retention.toml"], old
        files["retention.toml"] = files["retention.toml"].replace(old, new)
    await node.services.policies.apply(DEFAULT_TENANT, PolicySet.load(files), "test")


async def sweeps_on_record(node):
    """Return the audit entries of swept subjects."""
    return [entry for entry in await node.entries() if entry.action == "sweep" and entry.subjects]


async def write_to(node, subject, moment="2026-03-05T10:00:00Z", **fields):
    """Append an interaction."""
    body = {"channel": "email", "body": "Where is my order?", **fields}
    created = await node.append("support", subject, "interaction", body, "customer-support", occurred_at=moment)
    assert created.status_code == 201, created.text
    return created.json()["id"]
