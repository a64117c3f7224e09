"""Receipts: what a person may keep as proof of what they said about their data. Pure.

A receipt tells of one event and of those before it that it answers. It is made of the event, of what the policies of
that day say about the purpose, and of who the controller is. It has no value of the person: they stand in it by their
pseudonym, and what the vault keeps sealed (evidence) or about its staff (who recorded it) stays out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from vault.consent.receipts import dpv, dpv_reading, kantara
from vault.consent.receipts.model import SAID
from vault.crypto.signed import BadDocument, check, sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.consent.receipts.model import Facts, Told
    from vault.crypto.signed import Signed
    from vault.crypto.signing import SigningKey

Format = Literal["dpv", "kantara"]

LABEL: Final = "cdv-receipt-v1"
KIND: Final = "receipt"
"""The name under which the document stands in its signed file."""
_WRITERS: Final = {"dpv": dpv.receipt, "kantara": kantara.receipt}


def signed_receipt(key: SigningKey, facts: Facts, form: Format) -> dict[str, Any]:
    """Make the signed file of a receipt."""
    return sign(key, LABEL, KIND, _WRITERS[form](facts), facts.made_at)


def check_receipt(file: Mapping[str, Any]) -> Signed:
    """Check the form of a receipt's file, and the signature by the key that it carries.

    Raises:
        BadDocument: it has not the form; see :func:`vault.crypto.signed.check`.
    """
    return check(file, LABEL, KIND)


def told(receipt: Mapping[str, Any]) -> Told:
    """Read what a receipt says.

    Raises:
        BadDocument: it has neither of the two formats.
    """
    if dpv_reading.is_written_so(receipt):
        said = dpv_reading.told(receipt)
    elif kantara.is_written_so(receipt):
        said = kantara.told(receipt)
    else:
        raise BadDocument("the receipt has none of the forms that are known here")
    if said.kind not in SAID:
        raise BadDocument("the receipt is of a kind of event that is not known here")
    return said
