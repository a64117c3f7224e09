"""A subject with values for the whole shipped catalogue, consents and requests."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tests.export.made_up import DEFAULT, approved, request_of
from vault.export.collect import gather
from vault.export.contents import entries
from vault.ids import new_id
from vault.subjects.rows import Maker, NewRecord, Origin, record_rows

PROFILE = {
    "name": "Ada Lovelace",
    "salutation": "Countess",
    "email": "ada@example.org",
    "phone": "+442079460123",
    "address": {"street": "12 St James's Square", "postal_code": "SW1Y 4JH", "city": "London", "country": "GB"},
    "birth_date": "1985-12-10",
    "language": "en",
    "preferences": {"topics": ["poetry", "engines"], "news": True},
    "income_band": "50-74K",
    "iban": "DE89370400440532013000",
    "notes": "Prefers to be called.\nHas <b>strong</b> views on & about engines.",
    "health_notes": "Allergic to nuts",
}
RECORDS = {
    "interaction": [
        {
            "channel": "phone",
            "direction": "inbound",
            "author": "Jane Clerk",
            "subject": "Delivery",
            "body": "Late again.",
        },
        {"channel": "email", "direction": "outbound", "author": "Jane Clerk", "commitment": "A call by Friday"},
    ],
    "complaint": [{"subject": "Broken", "body": "It does not compute.", "status": "open"}],
    "offer": [{"campaign": "spring", "title": "Ten percent off", "channel": "email", "status": "opened"}],
    "loyalty": [{"programme": "Gold", "card": "LX-4711-0815", "tier": "gold", "points": 120}],
    "family_member": [{"name": "Byron King", "relation": "child", "birth_date": "2015-05-12"}],
    "social_post": [{"network": "Mastodon", "handle": "@ada", "body": "Fine engines!", "sentiment": "positive"}],
    "health_note": [{"topic": "Sleep", "body": "Works at night"}],
    "political_view": [{"leaning": "liberal", "source": "survey 2025"}],
}
PURCHASE = {
    "order": "A-1",
    "product_category": "Stationery",
    "product": "Punched cards",
    "quantity": "2",
    "amount": "-12.90",
    "currency": "EUR",
    "discount": "0.00",
    "store": "London",
}


async def somebody(node, *, purchases=3, records=None, profile=None, tenant="default"):
    """Create the subject; returns the id."""
    subject = UUID(
        await node.create_fully(tenant=tenant, **{"given_name": "Ada", **(PROFILE if profile is None else profile)})
    )
    for collection, rows in (RECORDS if records is None else records).items():
        for fields in rows:
            done = await node.append("dpo", subject, collection, fields, "subject-rights", tenant=tenant, source="crm")
            assert done.status_code == 201, done.text
    await buy(node, subject, purchases, tenant=tenant)
    return subject


async def buy(node, subject, purchases, *, source="shop", tenant="default", **fields):
    """Add purchases, an hour apart, directly to the store as an import does, because there may be many."""
    services, now = node.services, node.services.clock.now()
    declared = services.policies.active(tenant).policy_set.catalogue.collections["purchase"].fields
    keys = (await services.keyring.subject_keys(tenant, [subject]))[subject]
    maker = await Maker.of(services.keyring, tenant, now)
    origin = Origin(source, now, "order-fulfilment")
    rows = []
    for number in range(purchases):
        values = PURCHASE | {"order": f"A-{number}"} | fields
        at = now - timedelta(hours=number)
        record = NewRecord(subject, "purchase", new_id(), declared, values, origin, at)
        rows.append(record_rows(maker, keys, record))
    async with services.data.transaction() as connection:
        await services.subjects.add(
            connection,
            records=[row.record for row in rows],
            index=[lead for row in rows for lead in row.leads],
        )


async def content_of(node, subject, kind="access", *, language="en", tenant="default", **more):
    """Gather the content of a package."""
    request = await request_of(
        node, await approved(node, subject, kind, language=language, tenant=tenant, **more), tenant=tenant
    )
    return await gather(node.services, tenant or DEFAULT, UUID(str(subject)), request)


async def files_of(node, subject, kind="access", **how):
    """Write a package's entries; returns the bytes by path."""
    content = await content_of(node, subject, kind, **how)
    return {path: b"".join([piece async for piece in written]) for path, written in entries(content)}
