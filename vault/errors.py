"""The family of errors that the vault raises. It knows no HTTP: the doors translate.

Every class has a stable ``code`` that callers may build on. A message says what is wrong and never repeats the value
that was wrong. ``hint`` says how to put it right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


class VaultError(Exception):
    """Root of all errors that the vault raises on purpose.

    Args:
        detail: one sentence for people, without any value that came in.
        code: a finer stable code than the class's own, where one class serves several causes.
        hint: what the reader can do about it.
    """

    code: str = "vault-error"
    audit: str | None = None
    """Id of the audit entry that tells of it, once there is one."""

    def __init__(self, detail: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        if code is not None:
            self.code = code


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what came in: where (a JSON pointer, RFC 6901), which rule, and a sentence."""

    at: str
    code: str
    detail: str


class InvalidInput(VaultError):
    """What came in does not have the form that is asked for; the caller can mend it."""

    code = "invalid-input"

    def __init__(
        self, detail: str, *, faults: Sequence[Fault] = (), code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.faults = tuple(faults)


class TooLarge(VaultError):
    """More came in than is taken at once."""

    code = "body-too-large"


class PolicyInvalid(VaultError):
    """A policy folder contradicts itself; ``findings`` say where and how to mend it."""

    code = "policy-invalid"

    def __init__(self, detail: str, *, findings: Sequence[object] = (), hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.findings = tuple(findings)


class NotAuthenticated(VaultError):
    """Nobody knows who calls."""

    code = "not-authenticated"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one field was not shown: a stable code, a sentence with the remedy, and the rule that decided."""

    code: str
    detail: str
    rule: str


class Denied(VaultError):
    """Policy or legal ground forbids it. ``denied`` maps each field's name to its refusal."""

    code = "denied"

    def __init__(
        self,
        detail: str,
        *,
        denied: Mapping[str, Refusal] | None = None,
        audit: str | None = None,
        code: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.denied = dict(denied or {})
        self.audit = audit


class NotFound(VaultError):
    """What was asked for is not there, or not for this caller: the two look alike on purpose."""

    code = "not-found"

    def __init__(
        self, detail: str, *, audit: str | None = None, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.audit = audit


class SubjectMerged(NotFound):
    """This person was merged into another; ``merged_into`` is told to callers who may see that people are there."""

    code = "subject-merged"

    def __init__(
        self, merged_into: UUID, *, audit: str | None = None, hint: str | None = "use that id from now on"
    ) -> None:
        detail = "This person was merged into another, whose id is `merged_into`."
        super().__init__(detail, audit=audit, hint=hint)
        self.merged_into = merged_into


class Gone(VaultError):
    """What was asked for was there, and is no more."""

    code = "gone"


class Conflict(VaultError):
    """What came in contradicts what is there."""

    code = "conflict"


class StaleRevision(VaultError):
    """The record has changed since the caller read it (RFC 9110 §13.1.1)."""

    code = "stale-revision"


class RevisionRequired(VaultError):
    """A change must say which revision it starts from (RFC 6585 §3)."""

    code = "revision-required"


class TooMany(VaultError):
    """The principal has used up its rate; ``retry_after`` is in whole seconds.

    ``first`` marks the first refusal of this kind in its minute: the one that is worth an audit entry.
    """

    code = "rate-limited"

    def __init__(self, detail: str, *, retry_after: int, first: bool = False, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after = retry_after
        self.first = first


class Unavailable(VaultError):
    """A part that must answer first (audit log, database, key store) does not; nothing was shown."""

    code = "unavailable"


class CannotOpen(VaultError):
    """A sealed value does not open. One error for every cause, so that nothing can be learnt from it."""

    code = "cannot-open"

    def __init__(self) -> None:
        super().__init__("the sealed value does not open under this person's key at this place")


class Misconfigured(VaultError):
    """The vault's own set-up is wrong: a folder, a URL, a key that is not there."""

    code = "misconfigured"
