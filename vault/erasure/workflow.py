"""The request for erasure, and the steps that carry it out, in order.

A process may die in any of them: repeated, each step takes effect once.

1. ``begin``: one row for the erasure, however many requests there are.
2. ``take-away``: one transaction deletes what goes, reseals what stays, and notifies recipients.
3. ``tell``: the person is told by letter, and the address is let go (:mod:`vault.erasure.letter`).
4. ``destroy-keys``: the older keys are destroyed. From here on no copy opens, and no backup.
5. ``scrub``: deleted rows leave the databases' files.
6. ``check``: the files and rows are scanned, and nothing is found.
7. ``certify``: the certificate is signed, and the erasure ends.

Keys that other nodes have destroyed are evicted from this node's memory within seconds (:class:`KeyEviction`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault import logs
from vault.erasure.execute import execute_erasure
from vault.erasure.start import SOON, begin_erasure, erasure_of
from vault.erasure.verify import PROOF
from vault.errors import Unavailable
from vault.ids import SubjectId, TenantId
from vault.lifecycle.erasures import changed_since
from vault.requests.kind import Ground, RequestKind

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.context import Services
    from vault.erasure.verify import Proof
    from vault.jobs.workflow import Step
    from vault.lifecycle.erasures import State

log = logs.get_logger()


async def take_away(services: Services, tenant: TenantId, request: UUID) -> float | None:
    """Execute the erasure; one that was given up in the meantime begins again."""
    try:
        erasure = await erasure_of(services, tenant, request)
    except Unavailable:
        return await begin_erasure(services, tenant, request) or SOON
    if erasure.state == "begun":
        await execute_erasure(services, tenant, erasure)
    return None


def _proof_step(state: State, prove: Proof) -> Step:
    async def step(services: Services, tenant: TenantId, request: UUID) -> float | None:
        erasure = await erasure_of(services, tenant, request)
        return await prove(services, tenant, erasure) if erasure.state == state else None

    return step


ERASURE_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("begin", begin_erasure),
    ("take-away", take_away),
    *((name, _proof_step(state, prove)) for name, state, prove in PROOF),
)
ERASURE: Final = RequestKind(
    name="erasure",
    steps=ERASURE_STEPS,
    # What staff keep from an erasure is in its details too (`vault.erasure.start`); the requester cannot set it.
    texts=("reason", "statement"),
    grounds=(
        Ground("no-ground", "none of the grounds for erasure applies", "Art. 17(1) GDPR", ""),
        Ground("freedom-of-expression", "for freedom of expression and information", "Art. 17(3)(a) GDPR",
               "Cal. Civ. Code § 1798.105(d)(4)"),
        Ground("legal-obligation", "a law obliges to keep the data", "Art. 17(3)(b) GDPR",
               "Cal. Civ. Code § 1798.105(d)(8)"),
        Ground("public-health", "for reasons of public interest in public health", "Art. 17(3)(c) GDPR", ""),
        Ground("archiving", "for archiving in the public interest, research or statistics", "Art. 17(3)(d) GDPR",
               "Cal. Civ. Code § 1798.105(d)(6)"),
        Ground("legal-claims", "for legal claims", "Art. 17(3)(e) GDPR", "Cal. Civ. Code § 1798.145(a)"),
        Ground("contract-under-way", "to perform the contract with the person", "",
               "Cal. Civ. Code § 1798.105(d)(1)"),
    ),
    needs_fresh_identity=True,
    erases=True,
    sends_letter=False,  # the step `tell` writes one, as long as there is an address
)  # fmt: skip
"""The request for erasure (Art. 17 GDPR; Cal. Civ. Code § 1798.105)."""
POLL_SECONDS: Final = 2.0
LOOK_BACK: Final = timedelta(minutes=2)
"""Longer than the clocks of two nodes differ, and than a key is cached."""


class KeyEviction:
    """Evicts the keys of subjects that any node has erased from this node's cache.

    Without it a node would use a cached key until it expires, half a minute later.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: dict[tuple[str, UUID], datetime] = {}

    async def poll(self) -> int:
        """Evict the keys of recent erasures; returns of how many subjects."""
        since = self._services.clock.now() - LOOK_BACK
        async with self._services.data.reading() as connection:
            changed = await changed_since(connection, since)
        evicted = 0
        for tenant, subject, moment, facts in changed:
            if self._seen.get((tenant, subject)) != moment:
                self._seen[tenant, subject] = moment
                evicted += 1
                if facts is None:
                    log.error("an erasure is not readable: the keys of its aliases stay until they age", tenant=tenant)
                for erased in (subject, *(facts.aliases if facts else ())):
                    self._services.keyring.evict(TenantId(tenant), SubjectId(erased))
        self._seen = {key: moment for key, moment in self._seen.items() if moment >= since}
        return evicted
