"""Reads purposes.toml: what data is used for, on which ground, and which fields each purpose needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vault.catalogue.model import CLEAR, HOME, Article9, Article18, LegalBasis, Purpose, UnknownName, is_within
from vault.catalogue.toml_document import Form, did_you_mean
from vault.catalogue.types.places import countries
from vault.ids import PurposeName, is_slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.catalogue.model import Catalogue
    from vault.catalogue.toml_document import Document, Path, Table

NOTICE = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?@[1-9][0-9]{0,5}")

_NOTICE = Form(NOTICE.fullmatch, "names no version", "write `name@version`")

DIRECT = (
    "user.account.username",
    "user.authorization",
    "user.biometric",
    "user.contact",
    "user.content",
    "user.demographic.date_of_birth",
    "user.device",
    "user.financial.bank_account",
    "user.financial.credit_card",
    "user.government_id",
    "user.location.precise",
    "user.name",
    "user.unique_id",
)
"""Categories whose clear values identify a person; free text (``user.content``) may name anyone."""


def load_purposes(document: Document, catalogue: Catalogue | None) -> dict[str, Purpose]:
    """Read the purposes, adding every mistake to the document's findings.

    Args:
        document: purposes.toml.
        catalogue: what `needs` may name; ``None`` if it could not be read, so that names are not checked.
    """
    return {name: _purpose(name, table, catalogue) for name, table in document.root().tables()}


def check_needed(document: Document, catalogue: Catalogue, purposes: Iterable[Purpose]) -> None:
    """Find fields that no purpose needs, which must not be stored (Art. 5(1)(c) GDPR).

    Purposes that justify no collection do not count: one of them that needs everything would justify any field.
    """
    needed = {view for purpose in purposes if purpose.collects for view in purpose.views}
    for field in catalogue.fields():
        if not any(f"{field.whole}.{view}" in needed for view in (CLEAR, *field.views)):
            document.fault(
                ("field", field.collection, field.name),
                "field-unneeded",
                f"no purpose needs the field `{field.whole}`",
                "take the field out, or add it to `needs` of the purpose that it is kept for in purposes.toml",
            )


def _purpose(name: str, table: Table, catalogue: Catalogue | None) -> Purpose:
    if not is_slug(name):
        table.fault((), "wrong-name", f"{table.where} has an invalid name", "use a-z, 0-9, - and _")
    basis = table.choice("legal_basis", LegalBasis)
    needs = _needs(table, catalogue)
    purpose = Purpose(
        name=PurposeName(name),
        title=table.text("title", most=120),
        description=table.text("description"),
        legal_basis=basis or LegalBasis.CONSENT,
        article9=table.choice("article9", Article9, required=False),
        owner=table.text("owner", most=120),
        recipients=tuple(table.texts("recipients")),
        needs=tuple(needs),
        views=catalogue.covered(needs) if catalogue else frozenset(),
        valid_from=table.day("valid_from"),
        valid_until=table.day("valid_until"),
        minimised=table.flag("minimised"),
        collects=table.flag("collects", default=True),
        notice=table.optional("notice", most=80, form=_NOTICE),
        law=table.optional("law"),
        interest=table.optional("interest"),
        direct_marketing=table.flag("direct_marketing"),
        sale_or_share=table.flag("sale_or_share"),
        restriction=table.choice("restriction", Article18, required=False),
        automated_decision=table.flag("automated_decision"),
        logic=table.optional("logic"),
        consequences=table.optional("consequences"),
        transfers=_transfers(table.table("transfers")),
    )
    if basis:
        _check_ground(purpose, table)
        _check_consent(purpose, table)
    if purpose.valid_from and purpose.valid_until and purpose.valid_until < purpose.valid_from:
        table.fault("valid_until", "wrong-value", f"{table.where} ends before it begins", "mend one of the two days")
    _check_decision(purpose, table)
    if catalogue:
        _check_needs(purpose, table, catalogue, needs)
    table.finish()
    return purpose


def _needs(table: Table, catalogue: Catalogue | None) -> dict[str, int]:
    """Return the canonical names that a purpose needs, each with its index in the list."""
    names = table.texts("needs")
    if not names and not isinstance(table.data.get("needs"), list):
        table.missing("needs", "list the fields that it needs")
    elif not names:
        table.fault("needs", "wrong-value", f"`needs` of {table.where} is empty", "list the fields that it needs")
    needs: dict[str, int] = {}
    for name, number in names.items() if catalogue else ():
        if name == "*":
            remedy = "name the fields, or whole collections: `profile.*`"
            table.fault(("needs", number), "too-wide", f"{table.where} needs `*`", remedy)
            continue
        canonical = read_name(table, ("needs", number), name, catalogue)
        if canonical in needs:
            message = f"`{name}` of {table.where} is named before in other words"
            table.fault(("needs", number), "duplicate", message, "keep one")
        elif canonical:
            needs[canonical] = number
    return needs


def read_name(table: Table, at: str | Path, name: str, catalogue: Catalogue | None) -> str | None:
    """Return the canonical form of a name in a table; None, and a finding, if the catalogue does not declare it."""
    if catalogue is None:
        return None
    try:
        return catalogue.canonical(name)
    except UnknownName:
        message = f"{table.where} names `{name[:80]}`, which the catalogue does not declare"
        table.fault(at, "unknown-field", message, unknown_remedy(name, catalogue))
        return None


def check_declared(name: str, table: Table, purposes: Mapping[str, Purpose] | None) -> None:
    """Find a table about a purpose that does not exist; ``None`` if purposes.toml could not be read."""
    if purposes is not None and name not in purposes:
        remedy = did_you_mean(name, purposes, "take it out, or declare it in purposes.toml")
        table.fault((), "unknown-purpose", f"{table.where} is about an unknown purpose", remedy)


def unknown_remedy(name: str, catalogue: Catalogue) -> str:
    """Return the remedy for a name that the catalogue does not have."""
    try:
        field = catalogue.field(name.rpartition(".")[0])
    except UnknownName:
        known = [declared.name if declared.collection == HOME else declared.whole for declared in catalogue.fields()]
        return did_you_mean(name, known, "declare it in catalogue.toml, or take it out")
    views = ", ".join(sorted(field.views)) or "none but `clear`"
    return f"add the view to [field.{field.whole}] in catalogue.toml, or use one of its views: {views}"


def _check_ground(purpose: Purpose, table: Table) -> None:
    for basis, key, value, remedy in (
        (LegalBasis.LEGAL_OBLIGATION, "law", purpose.law, "the law that obliges (Art. 6(3)): `law = …`"),
        (
            LegalBasis.LEGITIMATE_INTEREST,
            "interest",
            purpose.interest,
            "the interest (Art. 13(1)(d)): `interest = …`",
        ),
    ):
        if purpose.legal_basis == basis and key not in table.data:
            table.fault((), "missing-key", f"{table.where} rests on {basis} and has no `{key}`", f"add {remedy}")
        elif purpose.legal_basis != basis and value is not None:
            message = f"{table.where} has `{key}` and does not rest on {basis}"
            table.fault(key, "wrong-value", message, "take it out, or change `legal_basis`")


def _check_consent(purpose: Purpose, table: Table) -> None:
    """Find keys that require consent. Explicit consent to a special category is consent too (Art. 9(2)(a))."""
    if purpose.rests_on_consent:
        if "notice" not in table.data:
            remedy = "add the text that people agree to (Art. 7): `notice = name@1`"
            table.fault((), "consent-without-notice", f"{table.where} rests on consent and has no `notice`", remedy)
        return
    if purpose.notice is not None:
        message = f"{table.where} has `notice` and does not rest on consent"
        table.fault("notice", "wrong-value", message, "take it out, or change `legal_basis`")
    if purpose.sale_or_share:
        message = f"{table.where} has `sale_or_share` and does not rest on consent"
        table.fault("sale_or_share", "wrong-value", message, "rest it on consent: a sale must be open to refusal")
    if purpose.restriction == Article18.CONSENT:
        message = f'{table.where} has `restriction = "consent"` and does not rest on consent'
        table.fault("restriction", "wrong-value", message, "name another exception of Art. 18(2), or none")


def _transfers(table: Table) -> dict[str, str]:
    """Read the safeguards by third country."""
    safeguards: dict[str, str] = {}
    for country in table.data:
        safeguard = table.optional(country, most=300)
        if countries().get(country.casefold()) != country:
            message = f"{table.where} names `{country[:20]}`, which is no country"
            table.fault(country, "wrong-value", message, "write a code of ISO 3166-1 such as `US`")
        elif safeguard is not None:
            safeguards[country] = safeguard
    return safeguards


def _check_decision(purpose: Purpose, table: Table) -> None:
    """Find automated decisions without the explanation that people are owed (Art. 15(1)(h))."""
    for key, text in (("logic", purpose.logic), ("consequences", purpose.consequences)):
        if purpose.automated_decision and text is None and key not in table.data:
            message = f"{table.where} decides by machine and has no `{key}`"
            remedy = f"add `{key} = …` in words that people understand"
            table.fault("automated_decision", "missing-key", message, remedy)


def _check_needs(purpose: Purpose, table: Table, catalogue: Catalogue, needs: Mapping[str, int]) -> None:
    for name, number in needs.items():
        covered = catalogue.covered((name,))
        wholes = {view.rpartition(".")[0] for view in covered}
        fields = [field for field in catalogue.fields() if field.whole in wholes]
        special = [field.whole for field in fields if field.special]
        if special and purpose.article9 is None:
            message = f"{table.where} needs {_list(special)}, of a special category, without a condition of Art. 9(2)"
            remedy = "add `article9 = …`, or take the field out of `needs`"
            table.fault(("needs", number), "special-without-condition", message, remedy)
        clear = [
            field.whole
            for field in fields
            if is_within(field.category, *DIRECT) and f"{field.whole}.{CLEAR}" in covered
        ]
        if purpose.minimised and clear:
            message = f"{table.where} is minimised and needs {_list(clear)} in clear, which singles people out"
            remedy = "name a coarser view, such as `birth_date.year`"
            table.fault(("needs", number), "minimised-needs-clear", message, remedy)


def _list(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
