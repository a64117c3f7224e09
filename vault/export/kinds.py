"""The requests that a package answers: access (Art. 15 GDPR) and portability (Art. 20)."""

from __future__ import annotations

from typing import Final

from vault.export.build import PACKAGE_STEPS
from vault.requests.kind import Ground, RequestKind

ACCESS: Final = RequestKind(
    name="access",
    steps=PACKAGE_STEPS,
    texts=None,
    grounds=(
        Ground("no-data", "nothing is held about the person", "Art. 15(1) GDPR", "Cal. Civ. Code § 1798.100"),
        Ground(
            "rights-of-others",
            "a copy would harm the rights and freedoms of others",
            "Art. 15(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    sends_letter=False,
)
PORTABILITY: Final = RequestKind(
    name="portability",
    steps=PACKAGE_STEPS,
    texts=None,
    grounds=(
        Ground("not-portable", "the data rests neither on consent nor on a contract", "Art. 20(1) GDPR", ""),
        Ground("public-task", "the data serves a task in the public interest", "Art. 20(3) GDPR", ""),
        Ground(
            "rights-of-others",
            "handing the data over would harm the rights and freedoms of others",
            "Art. 20(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    sends_letter=False,
)
