"""The arguments of every operation: the services of a vault, wired by bootstrap, and the caller."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vault.storage.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from vault.audit.log import AuditLog
    from vault.clock import Clock
    from vault.consent.store import ConsentEvents
    from vault.crypto.keyring import Keyring
    from vault.ids import TenantId
    from vault.jobs.runner import Jobs
    from vault.lifecycle.personal_data import PersonalData
    from vault.lifecycle.restore_ledger import RestoreLedger
    from vault.messaging.http import Post
    from vault.messaging.mail import Mail
    from vault.policy.store import Policies
    from vault.principals.principal import Principal
    from vault.principals.rate_limit import Limits
    from vault.principals.store import Principals
    from vault.requests.kind import RequestKind
    from vault.retention.clocks import ClockReader
    from vault.storage.database import Database
    from vault.subjects.store import Subjects


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Services:
    """The services of one vault. It has no slots, so that each service can be made when it is first used."""

    data: Database
    keyring: Keyring
    audit_log: AuditLog
    restore_ledger: RestoreLedger
    policies: Policies
    principals: Principals
    limits: Limits
    subjects: Subjects
    personal_data: Sequence[PersonalData]
    clocks: ClockReader
    consents: ConsentEvents
    clock: Clock
    jobs: Jobs
    mail: Mail
    post: Post
    request_kinds: Mapping[str, RequestKind]

    def batcher(self, run: Callable[[list[Item]], Awaitable[Sequence[Result]]]) -> Batcher[Item, Result]:
        """Return this vault's batcher of calls that a function runs together; there is one for each function."""
        batchers: dict[object, Batcher[Any, Any]] = vars(self).setdefault("_batchers", {})
        return batchers.setdefault(run, Batcher(run))


OPERATOR_NAME: Final[ContextVar[str | None]] = ContextVar("operator_name", default=None)
"""The name that the user of the command line states. Only the command line sets it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated, active principal and the id of its request. Step 1 of a read is done if there is one.

    ``operator`` is the name that the user of the command line states. It is shown, and decides nothing.
    """

    principal: Principal
    request_id: str
    operator: str | None = None

    @property
    def name(self) -> str:
        """Return the name for the audit log and for histories."""
        return self.operator or self.principal.name

    @property
    def tenant(self) -> TenantId:
        """Return the one tenant in which the caller acts."""
        return self.principal.tenant
