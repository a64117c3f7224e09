"""Reads catalogue.toml: collections and fields, checked against the types that the vault knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vault.catalogue.model import CLEAR, HOME, Catalogue, Collection, Field, Index, Origin, Risk, Sensitivity, is_within
from vault.catalogue.periods import DURATION, Period, read_period
from vault.catalogue.toml_document import Form, Table, did_you_mean
from vault.catalogue.types import PARAMETERS, TYPES, is_one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.toml_document import Document
    from vault.catalogue.types.base import FieldType, Options

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names of collections and fields: ASCII in lower case, so that no two names look alike."""
CATEGORY = Form(
    re.compile(r"(?:user|system)(?:\.[a-z][a-z0-9_]*)*").fullmatch,
    "is not such a term",
    "write a key of fideslang such as user.contact.email",
)
DPV = Form(
    re.compile(r"(?:dpv|pd):[A-Za-z][A-Za-z0-9-]*").fullmatch,
    "is not such a term",
    "write a term such as pd:EmailAddress",
)

AHEAD = Period(0, 1)
"""How far ahead a record may be dated unless its collection says so: in some places it is tomorrow already."""

SPECIAL = (
    "user.biometric",
    "user.authorization.biometric",
    "user.demographic.political_opinion",
    "user.demographic.race_ethnicity",
    "user.demographic.religious_belief",
    "user.demographic.sexual_orientation",
    "user.health_and_medical",
)
"""Categories of fideslang that Art. 9(1) GDPR protects, each with all below it."""


def load_catalogue(document: Document) -> Catalogue:
    """Read the catalogue, adding every mistake to the document's findings.

    Invalid fields are declared as far as possible, so that one mistake does not cause ten more in the files that name
    the field. The caller discards the result if there are findings.
    """
    root = document.root()
    collections = dict(root.table("collection").tables())
    fields: dict[str, dict[str, Field]] = {}
    for name, table in root.table("field").tables():
        if name not in collections:
            remedy = did_you_mean(name, collections, f"declare [collection.{name}]")
            table.fault((), "unknown-collection", f"`{name}` is no collection", remedy)
        defaults = collections.get(name) or Table(document, (), {})
        fields[name] = {field: _field(name, field, field_table, defaults) for field, field_table in table.tables()}
    root.finish()
    loaded = [_collection(name, table, fields.get(name, {})) for name, table in collections.items()]
    _check_home(document, collections, fields)
    return Catalogue(loaded)


def _check_home(
    document: Document, collections: Mapping[str, Table], fields: Mapping[str, Mapping[str, Field]]
) -> None:
    if HOME not in collections:
        document.fault((), "missing-key", f"there is no [collection.{HOME}]", "declare it: every person has a profile")
    for name in fields.get(HOME, {}):
        if name in collections:
            document.fault(
                ("field", HOME, name),
                "ambiguous-name",
                f"`{name}` is a collection and a field of the profile",
                f"rename one of them, for `{name}.x` could mean either",
            )


def _collection(name: str, table: Table, fields: Mapping[str, Field]) -> Collection:
    _check_name(name, table)
    title, description = table.text("title", most=120), table.optional("description") or ""
    many = table.flag("many", default=name != HOME)
    for key in ("others", "origin"):  # read with the fields; without any, there is another complaint
        table.take(key)
    if many == (name == HOME):
        table.wrong("many", "is not possible", "the profile is `many = false`, and only the profile")
    ahead = read_period(table.optional("ahead", most=20, form=DURATION) or "") or AHEAD
    if not fields:
        remedy = f"declare [field.{name}.…] or take it out"
        table.fault((), "empty-collection", f"{table.where} has no fields", remedy)
    table.finish()
    return Collection(name, title, many, fields, ahead, description)


def _check_name(name: str, table: Table) -> None:
    if not NAME.fullmatch(name):
        remedy = "use a-z, 0-9 and _, 63 characters at most"
        table.fault((), "wrong-name", f"{table.where} has an invalid name", remedy)


def _field(collection: str, name: str, table: Table, defaults: Table) -> Field:
    """Read a field; its collection may set defaults for ``others`` and ``origin``."""
    _check_name(name, table)
    kind = _type(table)
    category = table.text("category", most=200, form=CATEGORY)
    origin = table.choice("origin", Origin, required=False) or defaults.choice("origin", Origin, required=False)
    field = Field(
        collection=collection,
        name=name,
        title=table.text("title", most=120),
        type=kind.name if kind else "text",
        options=_options(table, kind, category),
        category=category,
        dpv=table.text("dpv", most=200, form=DPV),
        sensitivity=table.choice("sensitivity", Sensitivity) or Sensitivity.RESTRICTED,
        special=table.flag("special"),
        views=_views(table, kind),
        indexes=_indexes(table, kind),
        high_risk=table.choices("high_risk", Risk),
        system=table.flag("system"),
        description=table.optional("description") or "",
        others=table.flag("others", default=defaults.flag("others")),
        origin=origin or Origin.PROVIDED,
    )
    if is_within(field.category, *SPECIAL) and not field.special:
        message = f"{table.where} has a category that Art. 9(1) GDPR protects and is not marked"
        table.fault("category", "special-not-marked", message, "add `special = true`")
    table.finish()
    return field


def _type(table: Table) -> FieldType | None:
    name = table.text("type", most=40)
    if not name or name in TYPES:
        return TYPES.get(name)
    remedy = did_you_mean(name, TYPES, "write one of " + ", ".join(TYPES))
    table.fault("type", "unknown-type", f"{table.where} has the unknown type `{name}`", remedy)
    return None


def _options(table: Table, kind: FieldType | None, category: str) -> Options:
    defaults = kind.defaults(category) if kind else {}
    options = {**defaults, **table.table("options").data}
    for fault in kind.check_options(options) if kind else ():
        table.fault("options", "wrong-option", f"{table.where}: {fault}", "mend `options`")
    return options


def _views(table: Table, kind: FieldType | None) -> frozenset[str]:
    views = table.texts("views")
    for view, number in views.items():
        if view == CLEAR:
            message, remedy = f"{table.where} lists the view `clear`", "take it out: every field has it"
            table.fault(("views", number), "needless-view", message, remedy)
        elif kind and not is_one_of(view, kind.views):
            message = f"{table.where} lists the view `{view[:80]}`, which the type {kind.name} does not have"
            remedy = did_you_mean(view, kind.views, f"take one of {_choice(kind)}")
            table.fault(("views", number), "unknown-view", message, remedy)
    return frozenset(views) - {CLEAR}


def _choice(kind: FieldType) -> str:
    numbers = {name: f"{name} (n from {span[0]} to {span[-1]})" for name, span in PARAMETERS.items()}
    return ", ".join(numbers.get(view, view) for view in sorted(set(kind.views) - {CLEAR}))


def _indexes(table: Table, kind: FieldType | None) -> tuple[Index, ...]:
    widths, indexes = table.table("search_bits"), table.texts("search")
    bits = {index: widths.number(index, least=8, most=256) for index in widths.data}
    for index, number in indexes.items():
        if kind and not is_one_of(index, kind.indexes):
            message = f"{table.where} has the search index `{index[:80]}`, which the type {kind.name} may not have"
            remedy = (
                "take one of " + ", ".join(sorted(kind.indexes))
                if kind.indexes
                else "take it out: so few values are possible that counting equal digests would give them away"
            )
            table.fault(("search", number), "index-not-allowed", message, remedy)
    for index in bits.keys() - indexes.keys():
        message = f"`search_bits` of {table.where} names `{index}`, which `search` does not"
        widths.fault(index, "unknown-key", message, "take it out")
    return tuple(Index(index, bits.get(index) or 256) for index in indexes)
