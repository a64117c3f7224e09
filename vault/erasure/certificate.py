"""The certificate of an erasure: what it contains, how it is signed, and how anyone can check it without a vault.

It names fields and days, and contains no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from vault.clock import rfc3339
from vault.crypto.signing import BadDocument, check, sign
from vault.lifecycle.erasures import find_erasure, save_erasure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.company import Controller
    from vault.context import Services
    from vault.crypto.signing import Signed
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure, Line
    from vault.policy.policy_set import PolicySet


LABEL: Final = "cdv-erasure-v1"
KIND: Final = "certificate"
"""The document's name in its signed file."""


def check_certificate(file: Mapping[str, Any]) -> Signed:
    """Check the form of a certificate's file, and the signature by the key that it carries.

    Raises:
        BadDocument: the form is invalid; see :func:`vault.crypto.signing.check`.
    """
    return check(file, LABEL, KIND)


def summary_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Summarize a certificate as a few lines of text.

    Raises:
        BadDocument: it is not a certificate of an erasure.
    """
    try:
        kept = [f"{line['field']} ({line['article']}) until {line['until']}" for line in document["kept"]]
        summary = {
            "person": document["subject"],
            "controller": document["controller"]["name"],
            "when": document["erased_at"],
            "erased": ", ".join(line["field"] for line in document["erased"]) or "nothing",
            "kept": ", ".join(kept) or "nothing",
            "keys": f"{document['keys_destroyed']} destroyed",
            "audit": document["audit_entry"],
        }
    except (KeyError, TypeError):
        raise BadDocument("parts of the certificate are missing or invalid") from None
    if not all(isinstance(text, str) for text in summary.values()):
        raise BadDocument("parts of the certificate are missing or invalid")
    return summary


async def certify(services: Services, tenant: TenantId, erasure: Erasure) -> None:
    """Sign the certificate and end the erasure, in one transaction: there is exactly one certificate."""
    signer = await services.keyring.signing_key(tenant)
    policy_set = services.policies.active(tenant).policy_set
    async with services.data.transaction() as connection:
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        if current is None or current.state != "checked":
            return
        now = services.clock.now()
        file = sign(signer, LABEL, KIND, document(policy_set, tenant, current), now)
        done = replace(current, state="done", changed_at=now, finished_at=now, certificate=msgspec.json.encode(file))
        await save_erasure(connection, tenant, done)


def document(policy_set: PolicySet, tenant: TenantId, erasure: Erasure) -> dict[str, Any]:
    """Return the contents of a certificate."""
    facts, check_result = erasure.facts, erasure.facts.look
    return {
        "controller": _controller(policy_set.controller, tenant),
        "erasure": str(erasure.id),
        "request": None if erasure.request is None else str(erasure.request),
        "subject": str(erasure.subject),
        "scope": "everything" if erasure.is_whole else {
            "fields": list(facts.scope.fields),
            "collections": list(facts.scope.collections),
            "purposes": list(facts.scope.purposes),
        },
        "erased_at": None if facts.erased_at is None else rfc3339(facts.erased_at),
        "erased": [{"field": line.field, "records": line.records} for line in facts.lines if line.ground is None],
        "kept": [_kept(policy_set, line) for line in facts.lines if line.ground is not None],
        "keys_destroyed": facts.keys,
        "recipients_told": facts.told,
        "check": None if check_result is None else {
            "at": rfc3339(check_result.at),
            "files": check_result.files,
            "bytes": check_result.bytes,
            "rows": check_result.rows,
            "found": 0,
        },
        "audit_entry": None if facts.entry is None else str(facts.entry),
        "policy": policy_set.version,
    }  # fmt: skip


def _controller(controller: Controller, tenant: TenantId) -> dict[str, str]:
    stated = {"name": controller.name, "address": controller.address, "email": controller.email}
    return {name: text for name, text in stated.items() if text} if controller.stated else {"name": tenant}


def _kept(policy_set: PolicySet, line: Line) -> dict[str, Any]:
    kept: dict[str, Any] = {"field": line.field, "records": line.records, "ground": line.ground}
    kept |= {"article": line.article, "until": None if line.until is None else line.until.isoformat()}
    purpose = None if line.purpose is None else policy_set.purposes.get(line.purpose)
    if line.purpose is not None:
        kept["purpose"] = line.purpose
    if purpose is not None and purpose.law is not None:
        kept["law"] = purpose.law
    return kept
