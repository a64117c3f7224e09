"""Generated customers, who do not exist: names from Faker, telephone numbers reserved for fiction where possible.

They are created over the API, as by any app.
"""

from __future__ import annotations

import asyncio
import random
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from faker import Faker

from vault.cli.demo.stage import ANSWER_TIMEOUT, DemoFailed
from vault.clock import rfc3339
from vault.unicode import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

CONCURRENCY = 16
"""Requests at the same time: the audit log commits for all of them together."""
SOURCE = "demo"


async def create_customers(
    url: str, keys: Mapping[str, str], customers: Sequence[Customer], progress: Callable[[], None]
) -> list[str]:
    """Create customers with all of their records, and return their ids in order.

    Args:
        url: the server.
        keys: the API keys of the apps by name.
        customers: the customers to create.
        progress: called after each.

    Raises:
        DemoFailed: one was refused.
    """
    limit = asyncio.Semaphore(CONCURRENCY)
    limits = httpx.Limits(max_connections=CONCURRENCY)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=ANSWER_TIMEOUT) as client:

        async def create(customer: Customer) -> str:
            async with limit:
                subject = await _create(client, keys, customer)
                progress()
                return subject

        return list(await asyncio.gather(*map(create, customers)))


async def _create(client: httpx.AsyncClient, keys: Mapping[str, str], customer: Customer) -> str:
    body = {"profile": customer.profile, "external_ids": {"shop": customer.external_id}, "purpose": "order-fulfilment"}
    subject = await _post(client, keys["shop"], "/v1/subjects", body)
    for app, collection, purpose, records in (
        ("shop", "purchase", "order-fulfilment", customer.purchases),
        ("helpdesk", "interaction", "customer-support", customer.interactions),
        ("helpdesk", "complaint", "complaint-handling", customer.complaints),
    ):
        for record in records:
            path = f"/v1/subjects/{subject}/records/{collection}"
            await _post(client, keys[app], path, {**record, "purpose": purpose})
    return subject


async def _post(client: httpx.AsyncClient, key: str, path: str, body: Fields) -> str:
    answer = await client.post(path, json={**body, "source": SOURCE}, headers={"Authorization": f"Bearer {key}"})
    if answer.status_code != httpx.codes.CREATED:
        raise DemoFailed(f"a customer is refused: {answer.status_code}", hint=answer.text[:500])
    return str(answer.json()["id"])


Fields = dict[str, Any]

LOCALES = {
    "de_DE": "+4917139200##",
    "fr_FR": "+3363998####",
    "en_GB": "+447700900###",
    "pl_PL": "+48600000###",
    "tr_TR": "+90555000####",
    "es_ES": "+34600000###",
    "it_IT": "+39320000####",
    "nl_NL": "+31600000###",
    "sv_SE": "+467017406##",
    "el_GR": "+30690000####",
}
"""The locales of customers, and the form of their telephone numbers."""

GOODS = (
    ("kitchen", "Electric kettle", "39.90"),
    ("kitchen", "Coffee grinder", "54.00"),
    ("garden", "Watering can", "17.50"),
    ("books", "Field guide to birds", "24.00"),
    ("shoes", "Walking shoes", "89.95"),
    ("toys", "Wooden train", "32.00"),
    ("bath", "Bath towels, set of four", "44.90"),
)
CALLS = (
    ("phone", "inbound", "Asked when the parcel will come.", "Call back with the tracking number"),
    ("email", "inbound", "Wants the invoice made out to the company.", "Send a new invoice"),
    ("chat", "inbound", "Asked whether the size can be changed.", None),
    ("store", "inbound", "Collected the order at the counter.", None),
    ("phone", "outbound", "Told that the delivery is a day late.", "A voucher for the delay"),
)
COMPLAINTS = (
    ("Arrived broken", "The {product} was broken when I opened the parcel. Please send another one."),
    ("Wrong item", "I ordered something else than the {product} that came."),
    ("Too late", "The {product} came two weeks late, after the birthday it was meant for."),
)
STATES = ("open", "in_progress", "resolved")


class Customer(NamedTuple):
    """One customer: bodies for the API, without their purposes."""

    profile: Fields
    external_id: str
    purchases: list[Fields]
    interactions: list[Fields]
    complaints: list[Fields]


class Star(NamedTuple):
    """The customer in the tour; ``others`` are the ids of the rest."""

    id: str
    customer: Customer
    others: list[str]

    @property
    def profile(self) -> Fields:
        """Return the values that were stored."""
        return self.customer.profile


class Generator:
    """Generates customers, the same ones for the same seed; their records are of the two years before ``now``."""

    def __init__(self, seed: int, now: datetime) -> None:
        self._random = random.Random(seed)  # noqa: S311 - nothing here is a secret
        self._now = now
        self._fakers = {locale: Faker(locale) for locale in LOCALES}
        for number, faker in enumerate(self._fakers.values()):
            faker.seed_instance(seed * len(LOCALES) + number)

    def customers(self, count: int) -> list[Customer]:
        """Generate customers; the first is always Ada, the customer in the tour."""
        return [self._ada(), *(self._anyone(number) for number in range(2, count + 1))]

    def _ada(self) -> Customer:
        address = {"street": "Lindenweg 12", "postal_code": "10115", "city": "Berlin", "country": "DE"}
        profile = {
            "name": "Ada Winter",
            "given_name": "Ada",
            "family_name": "Winter",
            "email": "ada.winter@example.org",
            "phone": "+491713920042",
            "address": address,
            "language": "de",
            "birth_date": "1987-05-17",
        }
        kettle = self._purchase("order-4711", GOODS[0])
        complaint = self._record(
            {
                "subject": "Kettle arrived broken",
                "body": "The lid is cracked and it leaks. I would like a new one, please.",
                "status": "open",
            }
        )
        return Customer(profile, "1", [kettle], [self._call()], [complaint])

    def _anyone(self, number: int) -> Customer:
        locale = self._random.choice(list(LOCALES))
        faker = self._fakers[locale]
        given, family = faker.first_name(), faker.last_name()
        profile = {
            "name": f"{given} {family}",
            "given_name": given,
            "family_name": family,
            "email": self._email(given, family, number),
            "phone": re.sub("#", lambda _: str(self._random.randrange(10)), LOCALES[locale]),
            "address": {
                "street": faker.street_address().replace("\n", ", "),
                "city": faker.city(),
                "country": locale[3:],
            },
            "language": locale[:2],
            "birth_date": faker.date_of_birth(minimum_age=16, maximum_age=90).isoformat(),
        }
        purchases = [
            self._purchase(f"order-{number}-{order}", self._random.choice(GOODS))
            for order in range(self._random.randrange(1, 4))
        ]
        calls = [self._call() for _ in range(self._random.randrange(3))]
        complaints = [self._complaint(purchases[0])] if self._random.random() < 0.15 else []
        return Customer(profile, str(number), purchases, calls, complaints)

    def _email(self, given: str, family: str, number: int) -> str:
        plain = normalize("NFKD", f"{given}.{family}".lower()).encode("ascii", "ignore").decode()
        name = ".".join(part for part in re.split(r"[^a-z]+", plain) if part) or "customer"
        return f"{name}.{number}@example.{self._random.choice(('com', 'net', 'org'))}"

    def _purchase(self, order: str, goods: tuple[str, str, str]) -> Fields:
        category, product, amount = goods
        fields = {"order": order, "product_category": category, "product": product, "quantity": "1"}
        return self._record({**fields, "amount": amount, "currency": "EUR"}) | {"external_id": order}

    def _call(self) -> Fields:
        channel, direction, body, promised = self._random.choice(CALLS)
        fields = {"channel": channel, "direction": direction, "body": body}
        return self._record(fields if promised is None else {**fields, "commitment": promised})

    def _complaint(self, purchase: Fields) -> Fields:
        subject, body = self._random.choice(COMPLAINTS)
        product = purchase["fields"]["product"].lower()
        status = self._random.choice(STATES)
        return self._record({"subject": subject, "body": body.format(product=product), "status": status})

    def _record(self, fields: Fields) -> Fields:
        happened = self._now - timedelta(minutes=self._random.randrange(1, 2 * 365 * 24 * 60))
        return {"fields": fields, "occurred_at": rfc3339(happened)}
