"""Reads that rest on consent beside reads that do not, and checks of 1,000 people: python -m tests.bench.bench_consent"""

from __future__ import annotations

import asyncio
import statistics
from uuid import UUID

from tests.bench.ground import fill, postgres, server, vault_folder, wrk
from vault.bootstrap import open_vault
from vault.consent.model import Event, fold, pack
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT, SubjectId, new_id

FIELDS = ["name", "given_name", "family_name", "email", "language"]
WITH_CONSENT, WITHOUT = "direct-marketing", "subject-rights"
ROUNDS = 5
PEOPLE = 10_000


async def consent(folder, settings, ids: list[str]) -> str:
    """Let everybody consent, to three purposes each; gives the key of an app that may use the consents."""
    async with open_vault(folder, **settings) as vault:
        services, now = vault.services, vault.services.clock.now()
        facts = {"by": "subject", "occurred_at": now, "recorded_at": now, "method": "checkbox", "kind": "given"}
        purposes = {WITH_CONSENT: "marketing@3", "profiling": "profiling@1", "loyalty-programme": "loyalty@1"}
        events = [
            Event(id=new_id(), subject=SubjectId(UUID(id_)), purpose=purpose, notice=notice, **facts)
            for id_ in ids
            for purpose, notice in purposes.items()
        ]
        standing = pack(fold(events[: len(purposes)]))
        async with services.data.transaction() as connection:
            await services.consents.add(connection, DEFAULT_TENANT, events)
            for row in (await services.subjects.locked_many(connection, DEFAULT_TENANT, list(map(UUID, ids)))).values():
                await services.subjects.set_standing(connection, row, standing, restricted=False)
        _principal, issued = await add_app(services, DEFAULT_TENANT, "bench", ["dpo", "marketing"])
        return issued.key.reveal()


def main() -> None:
    with postgres() as fresh, vault_folder(fresh, keys_kept_seconds=3600) as (folder, settings):
        ids = asyncio.run(fill(folder, settings, PEOPLE))
        key = asyncio.run(consent(folder, settings, ids))
        several = ['","'.join(ids[n : n + 1000]) for n in range(0, PEOPLE, 1000)]
        check = {"subjects": ["@ID@"], "purposes": [WITH_CONSENT]}
        reads = {item: {"subject": "@ID@", "fields": FIELDS, "purpose": item} for item in (WITHOUT, WITH_CONSENT)}
        figures: dict[str, list[float]] = {WITHOUT: [], WITH_CONSENT: [], "check": []}
        with server(folder, settings) as (url, _pid):
            wrk(url, "/v1/read", key, ids, reads[WITHOUT], seconds=5)
            for _round in range(ROUNDS):
                for purpose, ask in reads.items():
                    figures[purpose].append(wrk(url, "/v1/read", key, ids, ask, seconds=4)["rate"])
                done = wrk(url, "/v1/consents:check", key, several, check, seconds=4, connections=4)
                figures["check"].append(done["rate"] * 1000)
    for name, rates in figures.items():
        print(f"{name:18} {statistics.median(rates):9,.0f} people/s   ({', '.join(f'{rate:,.0f}' for rate in rates)})")
    costs = [
        without / with_consent for without, with_consent in zip(figures[WITHOUT], figures[WITH_CONSENT], strict=True)
    ]
    checks = [read / check for read, check in zip(figures[WITH_CONSENT], figures["check"], strict=True)]
    print(f"time of a read with consent / without  {statistics.median(costs):.2f}   (wanted: 1.10 or less)")
    print(f"time of a check / of reading as many   {statistics.median(checks):.3f}   (wanted: 0.100 or less)")


if __name__ == "__main__":
    main()
