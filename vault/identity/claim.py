"""Whom somebody claims to be, as a digest by which codes are counted; whom it leads to is looked up after the answer.

So the steps before the answer are the same whether or not there is such a person, and neither the answer nor its time
tells a stranger who is a customer here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vault.catalogue.types import TYPES, ValueProblem, index_text
from vault.errors import Fault, InvalidInput
from vault.letters.contact import EMAIL
from vault.subjects.rows import checked_external_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.crypto.derive import TokenKey

EXTERNAL_ID = "external_id"
_encode = msgspec.json.Encoder(order="sorted").encode


def claim_digest(tokens: TokenKey, identity: Mapping[str, Any]) -> bytes:
    """Digest a claim: the same words give the same digest, however they are spelt and whoever they lead to.

    Args:
        tokens: the tenant's token key.
        identity: ``{"email": "…"}`` or ``{"external_id": {"shop": "4711"}}``.

    Raises:
        InvalidInput: it has neither form.
    """
    if identity.keys() == {EMAIL}:
        try:
            said: Any = index_text(EMAIL, TYPES[EMAIL].normalise(identity[EMAIL], {}))
        except ValueProblem:
            raise _no_identity("/identity/email") from None
    elif identity.keys() == {EXTERNAL_ID} and isinstance(identity[EXTERNAL_ID], dict) and identity[EXTERNAL_ID]:
        said = checked_external_ids(identity[EXTERNAL_ID], at="/identity/external_id")
    else:
        raise _no_identity("/identity")
    return tokens.digest("identity-claim", _encode([sorted(identity), said]))


def _no_identity(at: str) -> InvalidInput:
    detail = "`email`, or `external_id` with at least one system's id"
    fault = Fault(at, "invalid-identity", detail)
    return InvalidInput("the identity does not have its form", faults=[fault], code="invalid-identity")
