"""What the certificate of an erasure is, for whoever checks one. Pure; needs no vault.

The certificate of an erasure: for the person, and for whoever checks us. It names fields and days, and no value.
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

    from vault.catalogue.controller import Controller
    from vault.context import Services
    from vault.crypto.signing import Signed
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure, Line
    from vault.policy.policy_set import PolicySet


LABEL: Final = "cdv-erasure-v1"
KIND: Final = "certificate"
"""The name under which the document stands in its signed file."""


def check_certificate(file: Mapping[str, Any]) -> Signed:
    """Check the form of a certificate's file, and the signature by the key that it carries.

    Raises:
        BadDocument: it has not the form; see :func:`vault.crypto.signing.check`.
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


async def certify(services: Services, tenant: TenantId, erasure: Erasure) -> None:
    """Sign the certificate and end the erasure with it, in one transaction: there is one, and only one."""
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
    """Write what a certificate says."""
    facts, looked = erasure.facts, erasure.facts.look
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
        "check": None if looked is None else {
            "at": rfc3339(looked.at),
            "files": looked.files,
            "bytes": looked.bytes,
            "rows": looked.rows,
            "found": 0,
        },
        "audit_entry": None if facts.entry is None else str(facts.entry),
        "policy": policy_set.version,
    }  # fmt: skip


def _controller(controller: Controller, tenant: TenantId) -> dict[str, str]:
    stated = {"name": controller.name, "address": controller.address, "email": controller.email}
    return {name: text for name, text in stated.items() if text} if controller.stated else {"name": tenant}


def _kept(policy_set: PolicySet, line: Line) -> dict[str, Any]:
    told: dict[str, Any] = {"field": line.field, "records": line.records, "ground": line.ground}
    told |= {"article": line.article, "until": None if line.until is None else line.until.isoformat()}
    purpose = None if line.purpose is None else policy_set.purposes.get(line.purpose)
    if line.purpose is not None:
        told["purpose"] = line.purpose
    if purpose is not None and purpose.law is not None:
        told["law"] = purpose.law
    return told
