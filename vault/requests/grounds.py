"""On which grounds a request may be refused, each with its article; there are no others. Pure.

Who is refused is told the ground, that they may complain to a supervisory authority, and that they may go to court
(Art. 12(4) GDPR; 11 CCR § 7022(f) and others of the CCPA regulations).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.requests.machine import Kind
    from vault.requests.model import Regime


class Ground(NamedTuple):
    """A ground of refusal.

    Attributes:
        code: its name.
        title: what it says.
        gdpr: the article on which it rests; empty: no ground under the GDPR.
        ccpa: the section on which it rests; empty: no ground under the CCPA.
    """

    code: str
    title: str
    gdpr: str
    ccpa: str

    def article(self, regime: Regime) -> str:
        """Return on what it rests; empty where it is no ground under that law."""
        return self.gdpr if regime == "gdpr" else self.ccpa


_IDENTITY = Ground(
    "identity-not-shown",
    "it could not be made sure that the person asked",
    "Art. 12(2) and (6) GDPR",
    "11 CCR § 7060",
)
_UNFOUNDED = Ground(
    "manifestly-unfounded",
    "the request is manifestly unfounded",
    "Art. 12(5)(b) GDPR",
    "Cal. Civ. Code § 1798.145(h)(3)",
)
_EXCESSIVE = Ground(
    "excessive",
    "the request is excessive, in particular because it is repeated",
    "Art. 12(5)(b) GDPR",
    "Cal. Civ. Code § 1798.145(h)(3)",
)
_NO_DATA = Ground("no-data", "nothing is held about the person", "Art. 15(1) GDPR", "Cal. Civ. Code § 1798.100")
_LAW = Ground("restricted-by-law", "a law restricts this right", "Art. 23 GDPR", "Cal. Civ. Code § 1798.145(a)")
_ALWAYS: Final = (_IDENTITY, _UNFOUNDED, _EXCESSIVE, _LAW)

_OF_KIND: Final[Mapping[Kind, tuple[Ground, ...]]] = {
    "access": (
        _NO_DATA,
        Ground(
            "rights-of-others",
            "a copy would harm the rights and freedoms of others",
            "Art. 15(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    "portability": (
        Ground("not-portable", "the data rests neither on consent nor on a contract", "Art. 20(1) GDPR", ""),
        Ground("public-task", "the data serves a task in the public interest", "Art. 20(3) GDPR", ""),
        Ground(
            "rights-of-others",
            "handing the data over would harm the rights and freedoms of others",
            "Art. 20(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    "rectification": (
        Ground("data-accurate", "the data is accurate and complete", "Art. 16 GDPR", "11 CCR § 7023(b)"),
    ),
    "erasure": (
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
    "restriction": (Ground("no-ground", "none of the grounds for restriction applies", "Art. 18(1) GDPR", ""),),
    "objection": (
        Ground("compelling-grounds", "compelling legitimate grounds override the person's", "Art. 21(1) GDPR", ""),
        Ground("legal-claims", "the processing is for legal claims", "Art. 21(1) GDPR", "Cal. Civ. Code § 1798.145(a)"),
        Ground("public-interest", "the research or statistics are in the public interest", "Art. 21(6) GDPR", ""),
    ),
    "review": (
        Ground("no-automated-decision", "nothing was decided by automated means alone", "Art. 22(1) GDPR", ""),
    ),
}  # fmt: skip
_WITHDRAWAL: Final = (
    _IDENTITY,
    Ground("no-consent", "there is no consent to take back", "Art. 7(3) GDPR", "Cal. Civ. Code § 1798.120"),
)
"""Who takes a consent back gives no reason and is not weighed: Art. 12(5) is about other rights."""


def grounds_for(kind: Kind, regime: Regime, *, final: bool = False) -> Mapping[str, Ground]:
    """List the grounds on which a request of a kind may be refused, by code.

    Args:
        kind: of the request.
        regime: whose rules count.
        final: whether an objection leaves nothing to weigh: it is to direct marketing (Art. 21(3)).
    """
    if kind == "withdrawal":
        found: tuple[Ground, ...] = _WITHDRAWAL
    elif final:
        found = (_IDENTITY,)
    else:
        found = (*_ALWAYS, *_OF_KIND.get(kind, ()))
    return MappingProxyType({each.code: each for each in found if each.article(regime)})
