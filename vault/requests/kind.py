"""Kinds of request: one record for each, with everything in which it differs from the others.

A capability declares the kinds that it carries out, and ``vault.workflows`` collects them. Operations find the record
of a request in ``services.request_kinds``. The names are in :mod:`vault.catalogue.company`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vault.catalogue.company import DIRECT_MARKETING, Approve
from vault.consent.validation import words_fault
from vault.errors import Fault, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from vault.catalogue.company import KindName
    from vault.catalogue.model import Scope
    from vault.jobs.workflow import Step
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Regime, Verification
    from vault.requests.transaction import RequestChange


@dataclass(frozen=True, slots=True)
class Ground:
    """A ground of refusal.

    The person is told the ground and the remedies (Art. 12(4) GDPR; 11 CCR § 7022(f) and others of the CCPA
    regulations).

    Attributes:
        code: its name.
        title: a short description.
        gdpr: the article on which it rests; empty if it is no ground under the GDPR.
        ccpa: the section on which it rests; empty if it is no ground under the CCPA.
    """

    code: str
    title: str
    gdpr: str
    ccpa: str

    def article(self, regime: Regime) -> str:
        """Return the article or section on which it rests; empty if it is no ground under that law."""
        return self.gdpr if regime == "gdpr" else self.ccpa


IDENTITY: Final = Ground(
    "identity-not-shown",
    "it could not be made sure that the person asked",
    "Art. 12(2) and (6) GDPR",
    "11 CCR § 7060",
)
GENERAL_GROUNDS: Final = (
    IDENTITY,
    Ground(
        "manifestly-unfounded",
        "the request is manifestly unfounded",
        "Art. 12(5)(b) GDPR",
        "Cal. Civ. Code § 1798.145(h)(3)",
    ),
    Ground(
        "excessive",
        "the request is excessive, in particular because it is repeated",
        "Art. 12(5)(b) GDPR",
        "Cal. Civ. Code § 1798.145(h)(3)",
    ),
    Ground("restricted-by-law", "a law restricts this right", "Art. 23 GDPR", "Cal. Civ. Code § 1798.145(a)"),
)
"""Grounds on which a request of nearly any kind may be refused."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestKind:
    """What is particular to one kind of request.

    Attributes:
        name: also the name of its workflow.
        steps: what its job does between its start and its completion, in order.
        grounds: of refusal, in addition to ``general_grounds``.
        general_grounds: of refusal.
        texts: keys of the details that hold one line of text; None if the details are not checked at all.
        keys: the other keys that the details may have.
        check: returns the faults of the details and the scope, after the keys and texts are checked.
        needs_fresh_identity: whether an hour-old session is not enough: the request cannot be undone, or could be used
            to take over the person's account.
        stop_at_once: stops a use of data as soon as the request is verified, within the transaction on the request.
            Once a run; the decision follows later.
        on_rejected: changes other data when staff reject the request, within the transaction on the request; it is
            called with staff's note.
        is_final: whether a request leaves nothing to weigh: the rule for direct marketing then says who approves it,
            and it is refused for lack of identity only (Art. 21(3) GDPR).
        completed_by_staff: whether a person carries it out, and its job only starts it.
        erases: whether it is carried out by an erasure, from which staff can keep fields.
        holds_values: whether its details are values of the person; those of a closed request do not outlive an erasure.
        is_portable: whether the package that answers it may be sent to another controller (Art. 20(2) GDPR).
        sends_letter: whether the end of its job is a letter that the request is completed. Other kinds write a letter
            of their own, or leave no address to write to.
    """

    name: KindName
    steps: tuple[tuple[str, Step], ...] = ()
    grounds: tuple[Ground, ...] = ()
    general_grounds: tuple[Ground, ...] = GENERAL_GROUNDS
    texts: tuple[str, ...] | None = ("reason",)
    keys: tuple[str, ...] = ()
    check: Callable[[PolicySet, Scope, Mapping[str, object]], list[Fault]] = lambda _policies, _scope, _details: []
    needs_fresh_identity: bool = False
    stop_at_once: Callable[[RequestChange], Awaitable[None]] | None = None
    on_rejected: Callable[[RequestChange, str | None], Awaitable[None]] | None = None
    is_final: Callable[[PolicySet, Scope], bool] = lambda _policies, _scope: False
    completed_by_staff: bool = False
    erases: bool = False
    is_portable: bool = False
    holds_values: bool = False
    sends_letter: bool = True

    def accepts(self, verification: Verification) -> bool:
        """Return whether a verification is good enough for this kind."""
        return verification.level == "fresh" or not self.needs_fresh_identity

    def approval(self, policy_set: PolicySet, scope: Scope) -> Approve:
        """Return who approves a request of this kind, by the rules in force."""
        return policy_set.requests.approval(DIRECT_MARKETING if self.is_final(policy_set, scope) else self.name)

    def refusal_grounds(self, regime: Regime, *, final: bool = False) -> Mapping[str, Ground]:
        """Return the grounds on which a request may be refused, by code; there are no others.

        Args:
            regime: the law that applies.
            final: whether the request leaves nothing to weigh, see ``is_final``.
        """
        grounds = (IDENTITY,) if final else (*self.general_grounds, *self.grounds)
        return MappingProxyType({ground.code: ground for ground in grounds if ground.article(regime)})

    def check_details(self, policy_set: PolicySet, scope: Scope, details: Mapping[str, object]) -> None:
        """Check the details of a new request, before they are stored.

        Raises:
            InvalidInput: with one fault for each problem; no fault contains a value.
        """
        if self.texts is None:
            return
        faults = [
            Fault("/details", "unknown-field", f"key {position} is not allowed in this kind of request")
            for position, key in enumerate(details, 1)
            if key not in self.texts and key not in self.keys
        ]
        for key in self.texts:
            text, at = details.get(key), f"/details/{key}"
            if text is not None and not isinstance(text, str):
                faults.append(Fault(at, "wrong-type", "words, in one line"))
            elif fault := words_fault(text, at=at, code="invalid-words"):
                faults.append(fault)
        faults += self.check(policy_set, scope, details)
        if faults:
            raise InvalidInput("the request cannot be carried out as it stands", faults=faults, code="invalid-details")


def kind_of(change: RequestChange) -> RequestKind:
    """Return the kind of the request that is being changed."""
    return change.services.request_kinds[change.request.kind]


REVIEW: Final = RequestKind(
    name="review",
    texts=("reason", "statement"),
    grounds=(Ground("no-automated-decision", "nothing was decided by automated means alone", "Art. 22(1) GDPR", ""),),
    completed_by_staff=True,
)
