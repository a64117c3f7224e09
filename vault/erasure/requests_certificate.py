"""What the certificate of an erasure is, for whoever checks one. Pure; needs no vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vault.crypto.signed import BadDocument, check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.crypto.signed import Signed

LABEL: Final = "cdv-erasure-v1"
KIND: Final = "certificate"
"""The name under which the document stands in its signed file."""


def check_certificate(file: Mapping[str, Any]) -> Signed:
    """Check the form of a certificate's file, and the signature by the key that it carries.

    Raises:
        BadDocument: it has not the form; see :func:`vault.crypto.signed.check`.
    """
    return check(file, LABEL, KIND)


def told(document: Mapping[str, Any]) -> dict[str, str]:
    """Tell in a few words what a certificate says.

    Raises:
        BadDocument: it says nothing of an erasure.
    """
    try:
        kept = [f"{line['field']} ({line['article']}) until {line['until']}" for line in document["kept"]]
        says = {
            "person": document["subject"],
            "controller": document["controller"]["name"],
            "when": document["erased_at"],
            "erased": ", ".join(line["field"] for line in document["erased"]) or "nothing",
            "kept": ", ".join(kept) or "nothing",
            "keys": f"{document['keys_destroyed']} destroyed",
            "audit": document["audit_entry"],
        }
    except (KeyError, TypeError):
        raise BadDocument("the certificate does not have its parts") from None
    if not all(isinstance(text, str) for text in says.values()):
        raise BadDocument("the certificate does not have its parts")
    return says
