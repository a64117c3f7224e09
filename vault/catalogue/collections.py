"""Reads catalogue.toml: collections and fields, checked against the types that the vault knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vault.catalogue.model import CLEAR, HOME, Catalogue, Collection, Field, Index, Origin, Risk, Sensitivity
from vault.catalogue.toml_document import did_you_mean
from vault.catalogue.types import PARAMETERS, TYPES, has_view, parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.toml_document import Document, Table
    from vault.catalogue.types import FieldType

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names of collections and fields: ASCII in lower case, so that no two names look alike."""
CATEGORY = re.compile(r"(?:user|system)(?:\.[a-z][a-z0-9_]*)*")
DPV = re.compile(r"(?:dpv|pd):[A-Za-z][A-Za-z0-9-]*")

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


def within(category: str, above: tuple[str, ...]) -> bool:
    """Return whether a category is one of others or below one."""
    return any(category == prefix or category.startswith(prefix + ".") for prefix in above)


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
            table.fault(None, "unknown-collection", f"`{name}` is no collection", remedy)
        defaults = _Defaults.of(collections.get(name))
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
        remedy = "the profile is `many = false`, and only the profile"
        table.fault("many", "wrong-value", f"`many` of {table.where} is not possible", remedy)
    if not fields:
        table.fault(
            None, "empty-collection", f"{table.where} has no fields", f"declare [field.{name}.…] or take it out"
        )
    table.finish()
    return Collection(name, title, many, fields, description)


def _check_name(name: str, table: Table) -> None:
    if not NAME.fullmatch(name):
        table.fault(
            None, "wrong-name", f"{table.where} has an invalid name", "use a-z, 0-9 and _, 63 characters at most"
        )


@dataclass(frozen=True, slots=True)
class _Defaults:
    """Defaults that a collection sets for its fields."""

    others: bool = False
    origin: Origin = Origin.PROVIDED

    @classmethod
    def of(cls, table: Table | None) -> _Defaults:
        if table is None:
            return cls()
        return cls(table.flag("others"), table.choice("origin", Origin, required=False) or Origin.PROVIDED)


def _field(collection: str, name: str, table: Table, defaults: _Defaults) -> Field:
    _check_name(name, table)
    kind = _type(table)
    field = Field(
        collection=collection,
        name=name,
        title=table.text("title", most=120),
        type=kind.name if kind else "text",
        options=_options(table, kind),
        category=_category(table),
        dpv=_matching(table, "dpv", DPV, "write a term such as pd:EmailAddress"),
        sensitivity=table.choice("sensitivity", Sensitivity) or Sensitivity.RESTRICTED,
        special=table.flag("special"),
        views=_views(table, kind),
        indexes=_indexes(table, kind),
        high_risk=table.choices("high_risk", Risk),
        system=table.flag("system"),
        description=table.optional("description") or "",
        others=table.flag("others", default=defaults.others),
        origin=table.choice("origin", Origin, required=False) or defaults.origin,
    )
    if within(field.category, SPECIAL) and not field.special:
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


def _options(table: Table, kind: FieldType | None) -> Mapping[str, Any]:
    options: Mapping[str, Any] = table.table("options").data
    for fault in kind.check_options(options) if kind else ():
        table.fault("options", "wrong-option", f"{table.where}: {fault}", "mend `options`")
    return options


def _category(table: Table) -> str:
    return _matching(table, "category", CATEGORY, "write a key of fideslang such as user.contact.email")


def _matching(table: Table, key: str, pattern: re.Pattern[str], remedy: str) -> str:
    value = table.text(key, most=200)
    if value and not pattern.fullmatch(value):
        table.fault(key, "wrong-value", f"`{key}` of {table.where} is not such a term", remedy)
    return value


def _views(table: Table, kind: FieldType | None) -> frozenset[str]:
    views = table.texts("views")
    for view in views:
        at = (*table.path, "views", table.data["views"].index(view))
        if view == CLEAR:
            message, remedy = f"{table.where} lists the view `clear`", "take it out: every field has it"
            table.document.fault(at, "needless-view", message, remedy)
        elif kind and not has_view(kind, view):
            message = f"{table.where} lists the view `{view[:80]}`, which the type {kind.name} does not have"
            table.document.fault(
                at, "unknown-view", message, did_you_mean(view, kind.views, f"take one of {_choice(kind)}")
            )
    return frozenset(views) - {CLEAR}


def _choice(kind: FieldType) -> str:
    numbers = {name: f"{name} (n from {span[0]} to {span[-1]})" for name, span in PARAMETERS.items()}
    return ", ".join(numbers.get(view, view) for view in sorted(set(kind.views) - {CLEAR}))


def _indexes(table: Table, kind: FieldType | None) -> tuple[Index, ...]:
    bits = _bits(table)
    kinds = table.texts("search")
    for index in kinds:
        if kind and not _fits(index, kind):
            table.document.fault(
                (*table.path, "search", table.data["search"].index(index)),
                "index-not-allowed",
                f"{table.where} has the search index `{index[:80]}`, which the type {kind.name} may not have",
                _index_remedy(kind),
            )
    for index in bits.keys() - set(kinds):
        message = f"`search_bits` of {table.where} names `{index}`, which `search` does not"
        table.document.fault((*table.path, "search_bits", index), "unknown-key", message, "take it out")
    return tuple(Index(index, bits.get(index, 256)) for index in kinds)


def _fits(index: str, kind: FieldType) -> bool:
    generic, number = parameter(index)
    return generic in kind.indexes and (number > 0) == (generic in PARAMETERS)


def _index_remedy(kind: FieldType) -> str:
    if not kind.indexes:
        return "take it out: so few values are possible that counting equal digests would give them away"
    return "take one of " + ", ".join(sorted(kind.indexes))


def _bits(table: Table) -> dict[str, int]:
    kept: dict[str, int] = {}
    for name, value in table.table("search_bits").data.items():
        if isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= 256:
            kept[name] = value
        else:
            at = (*table.path, "search_bits", name)
            message = f"`search_bits` of {table.where} is out of range for `{name}`"
            table.document.fault(at, "wrong-value", message, "write a whole number from 8 to 256")
    return kept
