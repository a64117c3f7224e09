"""The errors that the vault raises. They know nothing of HTTP: :mod:`vault.http.problems` translates them.

Every class has a stable ``code`` on which callers may rely. A message says what is wrong and never repeats the value
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
        detail: one sentence for people, without any value of the request.
        code: a finer stable code than the class's own, if the class has several causes.
        hint: what the reader can do about it.
    """

    code: str = "vault-error"
    audit: str | None = None
    """The id of the audit entry about this error, if there is one."""

    def __init__(self, detail: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        if code is not None:
            self.code = code


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: where (a JSON pointer, RFC 6901), by which rule, and a sentence."""

    at: str
    code: str
    detail: str


class InvalidInput(VaultError):
    """The request is invalid. The caller can correct it; ``faults`` say where."""

    code = "invalid-input"

    def __init__(
        self, detail: str, *, faults: Sequence[Fault] = (), code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.faults = tuple(faults)


class TooLarge(VaultError):
    """The request is larger than the vault accepts."""

    code = "body-too-large"


class PolicyInvalid(VaultError):
    """A policy folder is invalid. ``findings`` say where, and how to correct it."""

    code = "policy-invalid"

    def __init__(self, detail: str, *, findings: Sequence[object] = (), hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.findings = tuple(findings)


class NotAuthenticated(VaultError):
    """The caller is not authenticated."""

    code = "not-authenticated"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a field is not shown: a stable code, a sentence with the remedy, and the rule that decided."""

    code: str
    detail: str
    rule: str


class Denied(VaultError):
    """A policy or the legal ground forbids the operation. ``denied`` maps each field's name to its refusal."""

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
    """The thing does not exist, or the caller may not know that it does. The two look alike on purpose."""

    code = "not-found"

    def __init__(
        self, detail: str, *, audit: str | None = None, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.audit = audit


class SubjectMerged(NotFound):
    """The subject was merged into another, ``merged_into``. Raised for callers who may see that subjects exist."""

    code = "subject-merged"

    def __init__(
        self, merged_into: UUID, *, audit: str | None = None, hint: str | None = "use that id from now on"
    ) -> None:
        detail = "This person was merged into another, whose id is `merged_into`."
        super().__init__(detail, audit=audit, hint=hint)
        self.merged_into = merged_into


class Gone(VaultError):
    """The thing existed and was removed."""

    code = "gone"


class Conflict(VaultError):
    """The request contradicts what is stored."""

    code = "conflict"


class StaleRevision(VaultError):
    """The record has changed since the caller read it (RFC 9110 §13.1.1)."""

    code = "stale-revision"


class RevisionRequired(VaultError):
    """A change must state the revision on which it is based (RFC 6585 §3)."""

    code = "revision-required"


class TooMany(VaultError):
    """The principal has used up its rate; ``retry_after`` is in whole seconds.

    ``first`` marks the first refusal of its kind within a minute: only that one gets an audit entry.
    """

    code = "rate-limited"

    def __init__(self, detail: str, *, retry_after: int, first: bool = False, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after = retry_after
        self.first = first


class Unavailable(VaultError):
    """The audit log, a database or the key store does not answer. Nothing was shown."""

    code = "unavailable"


class CannotOpen(VaultError):
    """A sealed value does not open. There is one error for every cause, so that it reveals nothing."""

    code = "cannot-open"

    def __init__(self) -> None:
        super().__init__("the sealed value does not open under this person's key at this place")


class RowTampered(CannotOpen):
    """A row that decides who may see what is not as the vault wrote it, or is an older one that was put back."""

    code = "row-tampered"

    def __init__(
        self, *, hint: str | None = "find out who can write there; the log of the process names the table"
    ) -> None:
        detail = "a row of the main database is not as the vault wrote it, so nothing is done"
        VaultError.__init__(self, detail, hint=hint)


class Misconfigured(VaultError):
    """The vault's configuration is wrong, such as a missing folder, URL or key."""

    code = "misconfigured"
