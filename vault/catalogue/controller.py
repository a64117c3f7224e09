"""Reads controller.toml: the controller, for receipts and the record of processing (Art. 30(1)(a) GDPR)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.catalogue.consent import is_jurisdiction

if TYPE_CHECKING:
    from vault.catalogue.toml_document import Document, Table

EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s.]+")
URL = re.compile(r"https?://[^\s/]+(?:/\S*)?")


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact: the data protection officer, or the representative in the Union (Art. 27)."""

    name: str
    email: str
    address: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """The supervisory authority of the controller, to which people may complain (Art. 77)."""

    name: str
    url: str = ""
    email: str | None = None
    address: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Controller:
    """The company that decides why and how data is processed (Art. 4(7) GDPR).

    Texts are empty, and contacts ``None``, if the policies do not state them. ``country`` is ISO 3166-1 alpha-2.
    """

    name: str = ""
    address: str = ""
    country: str = ""
    email: str = ""
    phone: str = ""
    url: str = ""
    privacy_policy: str = ""
    representative: Contact | None = None
    dpo: Contact | None = None
    authority: Authority | None = None

    @property
    def stated(self) -> bool:
        """Return whether the policies name the controller."""
        return bool(self.name)


def load_controller(document: Document) -> Controller:
    """Read the controller, adding every mistake to the document's findings."""
    root = document.root()
    controller = Controller(
        name=root.text("name", most=200),
        address=root.text("address", most=300),
        country=_country(root),
        email=_email(root, root.text("email", most=254)),
        phone=root.optional("phone", most=40) or "",
        url=_url(root, "url", root.optional("url", most=500)),
        privacy_policy=_url(root, "privacy_policy", root.text("privacy_policy", most=500)),
        representative=_contact(root, "representative"),
        dpo=_contact(root, "dpo"),
        authority=_authority(root),
    )
    root.finish()
    return controller


def _contact(root: Table, key: str) -> Contact | None:
    if key not in root.data:
        return None
    table = root.table(key)
    contact = Contact(
        name=table.text("name", most=200),
        email=_email(table, table.text("email", most=254)),
        address=table.optional("address", most=300),
        phone=table.optional("phone", most=40),
    )
    table.finish()
    return contact


def _authority(root: Table) -> Authority | None:
    if "authority" not in root.data:
        return None
    table = root.table("authority")
    email = table.optional("email", most=254)
    authority = Authority(
        name=table.text("name", most=200),
        url=_url(table, "url", table.optional("url", most=500)),
        email=None if email is None else _email(table, email),
        address=table.optional("address", most=300),
        phone=table.optional("phone", most=40),
    )
    table.finish()
    return authority


def _country(root: Table) -> str:
    country = root.text("country", most=2)
    if country and not is_jurisdiction(country):
        root.fault("country", "wrong-value", "`country` is no country", "write a code of ISO 3166-1 such as `IE`")
    return country


def _email(table: Table, address: str) -> str:
    if address and not EMAIL.fullmatch(address):
        table.fault("email", "wrong-value", f"`email` of {table.where} is no e-mail address", "write `a@example.org`")
    return address


def _url(table: Table, key: str, address: str | None) -> str:
    if address and not URL.fullmatch(address):
        table.fault(key, "wrong-value", f"`{key}` of {table.where} is no web address", "write `https://…`")
    return address or ""
