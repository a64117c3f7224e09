"""The request for erasure (Art. 17 GDPR; Cal. Civ. Code § 1798.105)."""

from __future__ import annotations

from typing import Final

from vault.erasure.workflow import ERASURE_STEPS
from vault.requests.kind import Ground, RequestKind

ERASURE: Final = RequestKind(
    name="erasure",
    erases=True,
    steps=ERASURE_STEPS,
    # What staff keep from an erasure is in its details too (`vault.erasure.claims`); the requester cannot set it.
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
    sends_letter=False,  # No address is left to write to.
)  # fmt: skip
