"""What may be asked for and why: the catalogue, the purposes, and why an answer is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response

from vault.api.answers import answer
from vault.api.doors import Rooms, SignedIn
from vault.api.schemas import common as bodies
from vault.governance.read_policies import read_policies
from vault.ids import SubjectId
from vault.records.explain import explain

if TYPE_CHECKING:
    from vault.catalogue.model import Field, Purpose

router = APIRouter(prefix="/v1", tags=["policies"])


@router.post("/decisions:explain", response_model=bodies.Explanation)
async def explain_decision(body: bodies.ExplainAsk, house: Rooms, caller: SignedIn) -> Response:
    """Say why fields may be used or not, by step and rule, without using them."""
    told = await explain(
        house,
        caller,
        fields=body.fields,
        purpose=body.purpose,
        action=body.action,
        subject=None if body.subject is None else SubjectId(body.subject),
        roles=body.roles,
    )
    fields = {asked: each._asdict() for asked, each in told.fields.items()}
    return answer({"fields": fields, "policy_version": told.policy_version, "audit": told.audit})


@router.get("/catalogue", response_model=dict[str, Any])
async def catalogue(house: Rooms, caller: SignedIn) -> Response:
    """List collections and fields: types, categories, views, searches."""
    active = await read_policies(house, caller)
    collections = {
        each.name: {
            "title": each.title,
            "many": each.many,
            "fields": {field.name: _field(field) for field in each.fields.values()},
        }
        for each in active.policy_set.catalogue.collections.values()
    }
    return answer({"policy_version": active.version, "collections": collections})


@router.get("/purposes", response_model=dict[str, Any])
async def purposes(house: Rooms, caller: SignedIn) -> Response:
    """List the purposes: legal basis, owner, recipients, and the fields that each needs."""
    active = await read_policies(house, caller)
    listed = {each.name: _purpose(each) for each in active.policy_set.purposes.values()}
    return answer({"policy_version": active.version, "purposes": listed})


def _field(field: Field) -> dict[str, Any]:
    return {
        "title": field.title,
        "type": field.type,
        "category": field.category,
        "dpv": field.dpv,
        "sensitivity": str(field.sensitivity),
        "special": field.special,
        "high_risk": [str(each) for each in field.high_risk],
        "views": ["clear", *sorted(field.views)],
        "search": [index.kind for index in field.indexes],
    }


def _purpose(purpose: Purpose) -> dict[str, Any]:
    return {
        "title": purpose.title,
        "description": purpose.description,
        "legal_basis": str(purpose.legal_basis),
        "article9": None if purpose.article9 is None else str(purpose.article9),
        "owner": purpose.owner,
        "recipients": list(purpose.recipients),
        "needs": list(purpose.needs),
        "valid_from": purpose.valid_from,
        "valid_until": purpose.valid_until,
        "notice": purpose.notice,
        "direct_marketing": purpose.direct_marketing,
        "sale_or_share": purpose.sale_or_share,
        "restriction": None if purpose.restriction is None else str(purpose.restriction),
    }
