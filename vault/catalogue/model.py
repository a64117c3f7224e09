"""The catalogue: collections, fields, views and purposes, as the policy folder declares them.

The enumerations list the words that a policy folder may use, as the law and its commentators list them.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from vault.errors import InvalidInput
from vault.ids import FieldName, PurposeName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vault.catalogue.periods import Period
    from vault.catalogue.types.base import Options


class Sensitivity(StrEnum):
    """How much harm a leak of the field would do, as the company classifies its information."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"


class Risk(StrEnum):
    """The harms that make processing high-risk: GDPR recital 75, and the criteria of WP 248 rev. 01."""

    IDENTITY_THEFT = "identity-theft"
    FINANCIAL_LOSS = "financial-loss"
    DISCRIMINATION = "discrimination"
    REPUTATION = "reputation"
    VULNERABLE_PERSON = "vulnerable-person"
    PROFILING = "profiling"


class Origin(StrEnum):
    """How a value came to be. It decides what is exported for use elsewhere (Art. 20(1) GDPR, WP 242 rev. 01).

    ``provided`` by the person, ``observed`` from what they did, ``inferred`` from other values, written or given out by
    the controller (``ours``), or taken from ``elsewhere``.
    """

    PROVIDED = "provided"
    OBSERVED = "observed"
    INFERRED = "inferred"
    OURS = "ours"
    ELSEWHERE = "elsewhere"


class LegalBasis(StrEnum):
    """The grounds of Art. 6(1) GDPR, (a) to (f) in order."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal-obligation"
    VITAL_INTERESTS = "vital-interests"
    PUBLIC_TASK = "public-task"
    LEGITIMATE_INTEREST = "legitimate-interest"


class Article9(StrEnum):
    """The conditions of Art. 9(2) GDPR under which special categories may be processed, (a) to (j) in order."""

    EXPLICIT_CONSENT = "explicit-consent"
    EMPLOYMENT_LAW = "employment-law"
    VITAL_INTERESTS = "vital-interests"
    NOT_FOR_PROFIT = "not-for-profit"
    MADE_PUBLIC = "made-public"
    LEGAL_CLAIMS = "legal-claims"
    PUBLIC_INTEREST = "public-interest"
    HEALTH_CARE = "health-care"
    PUBLIC_HEALTH = "public-health"
    RESEARCH = "research"


class Article18(StrEnum):
    """The exceptions of Art. 18(2) GDPR: what may be done with restricted data, other than storing it."""

    CONSENT = "consent"
    LEGAL_CLAIMS = "legal-claims"
    RIGHTS_OF_OTHERS = "rights-of-others"
    PUBLIC_INTEREST = "public-interest"


__all__ = [
    "CLEAR",
    "HOME",
    "Article9",
    "Article18",
    "Catalogue",
    "Collection",
    "Field",
    "FieldView",
    "Index",
    "LegalBasis",
    "Origin",
    "Purpose",
    "Risk",
    "Sensitivity",
    "UnknownName",
    "covers",
    "is_within",
]

CLEAR = "clear"
"""The view that shows the value as it is; every field has it without declaring it."""

HOME = "profile"
"""The collection whose fields may be named without it: ``email`` is ``profile.email``."""


class UnknownName(InvalidInput):
    """The catalogue has no such field or view. The name is not repeated: it came from outside."""

    code = "unknown-field"


@dataclass(frozen=True, slots=True)
class Index:
    """One way to find a subject by a sealed field: ``exact``, ``prefix`` or ``last_<n>``.

    ``bits`` is how much of the digest is kept. Fewer bits let unlike values share a digest, so that the index
    reveals less about how often a value occurs. Search results are checked again after unsealing.
    """

    kind: str
    bits: int = 256


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One named value of a record, as declared.

    ``special`` marks a category of Art. 9(1) GDPR, ``others`` a value that is about another person too, so that a
    copy shows it masked (Art. 15(4)). ``origin`` says how such values come to be.
    """

    collection: str
    name: str
    title: str
    type: str
    options: Options
    category: str
    sensitivity: Sensitivity
    special: bool = False
    views: frozenset[str] = frozenset()
    indexes: tuple[Index, ...] = ()
    high_risk: tuple[Risk, ...] = ()
    dpv: str = ""
    system: bool = False
    description: str = ""
    others: bool = False
    origin: Origin = Origin.PROVIDED

    @property
    def whole(self) -> str:
        """Return the name with its collection, such as ``profile.email``."""
        return f"{self.collection}.{self.name}"


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field and one of its views: what an app asks for, and what a rule grants."""

    field: Field = attribute(compare=False, repr=False)
    view: str = attribute(compare=False)
    name: FieldName = attribute(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", FieldName(f"{self.field.whole}.{self.view}"))


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """A kind of record. ``many`` is false where a subject has exactly one, as with the profile.

    ``ahead`` is how far ahead of the present a record may be dated, such as an agreed delivery.
    """

    name: str
    title: str
    many: bool
    fields: Mapping[str, Field]
    ahead: Period
    description: str = ""


def covers(name: str, granted: str) -> bool:
    """Return whether a canonical name of a policy covers the whole name of a view.

    ``*`` is every field, ``purchase.*`` a collection, ``profile.email`` a field with all its views, and
    ``profile.email.masked`` one view. A system resource (``vault:audit``) is covered by its own name only.
    """
    if granted == "*":
        # A rule about people's data must not grant access to the vault itself by accident.
        return ":" not in name
    if granted.endswith(".*"):
        return name.startswith(granted[:-1])
    return name == granted or name.startswith(granted + ".")


def is_within(category: str, *above: str) -> bool:
    """Return whether a category is one of others, or is below one."""
    return any(category == other or category.startswith(other + ".") for other in above)


class Catalogue:
    """All collections and their fields, with every name by which a view can be asked for.

    Names are matched exactly, by one dictionary look-up. They are not normalised, so that no other spelling of a name
    can bypass a rule.
    """

    def __init__(self, collections: Iterable[Collection]) -> None:
        self.collections: dict[str, Collection] = {collection.name: collection for collection in collections}
        self._fields: dict[str, Field] = {}
        self._views: dict[str, FieldView] = {}
        self._covered: dict[str, list[FieldName]] = {"*": []}
        for field in self.fields():
            self._name(field)

    def _name(self, field: Field) -> None:
        spellings = [field.whole, field.name] if field.collection == HOME else [field.whole]
        for spelling in spellings:
            self._fields[spelling] = field
        for view in (CLEAR, *sorted(field.views)):
            shown = FieldView(field, view)
            for name in ("*", f"{field.collection}.*", field.whole, shown.name):
                self._covered.setdefault(name, []).append(shown.name)
            for spelling in spellings:
                self._views[f"{spelling}.{view}"] = shown
        for spelling in spellings:
            self._views[spelling] = self._views[f"{spelling}.{CLEAR}"]

    def fields(self) -> Iterator[Field]:
        """Go through all fields, in the order in which they are declared."""
        for collection in self.collections.values():
            yield from collection.fields.values()

    def views(self) -> Iterator[FieldView]:
        """Go through all views of all fields, each once."""
        return (self._views[name] for name in self._covered["*"])

    def view(self, name: str) -> FieldView:
        """Return a view by its name; ``email``, ``profile.email`` and ``email.clear`` are the same clear view.

        Raises:
            UnknownName: nothing of that name is declared.
        """
        view = self._views.get(name)
        if view is None:
            raise UnknownName("the catalogue declares no such field or view", hint="GET /v1/catalogue lists them")
        return view

    def field(self, name: str) -> Field:
        """Return a field by its name, with or without ``profile.``.

        Raises:
            UnknownName: nothing of that name is declared.
        """
        field = self._fields.get(name)
        if field is None:
            raise UnknownName("the catalogue declares no such field", hint="GET /v1/catalogue lists them")
        return field

    def canonical(self, name: str) -> str:
        """Return a name of a policy in the form that :func:`covers` expects.

        A name without a view stays as it is: it means the field and all its views.

        Raises:
            UnknownName: nothing of that name is declared.
        """
        if name == "*" or (name.endswith(".*") and name[:-2] in self.collections):
            return name
        if name in self._fields:
            return self._fields[name].whole
        return self.view(name).name

    def covered(self, names: Iterable[str]) -> frozenset[FieldName]:
        """List the whole names of all views that canonical names cover."""
        return frozenset(view for name in names for view in self._covered.get(name, ()))

    def __contains__(self, name: object) -> bool:
        return name in self._views


@dataclass(frozen=True, slots=True, eq=False)
class Purpose:
    """Why data is used (Art. 5(1)(b) GDPR): its ground, its owner, its recipients, and the fields that it needs.

    ``needs`` are canonical names and ``views`` all that they cover. ``collects`` is false for a purpose that justifies
    no collection of its own, such as handing people their data. The days bound it, both included, in UTC.

    ``direct_marketing`` is true where an objection ends it at once and for good (Art. 21(2) and (3)), ``sale_or_share``
    where a global opt-out signal does (CCPA §1798.120 and §1798.135). ``restriction`` is the exception by which
    processing continues while a person's data is restricted; without one it does not.

    ``automated_decision`` is true where a decision with legal or like effects is taken by a machine alone (Art. 22);
    ``logic`` and ``consequences`` explain to people how their data is evaluated and what follows (Art. 15(1)(h)).
    ``transfers`` are the safeguards by third country (Art. 15(2), 46).
    """

    name: PurposeName
    title: str
    description: str
    legal_basis: LegalBasis
    article9: Article9 | None
    owner: str
    recipients: tuple[str, ...]
    needs: tuple[str, ...]
    views: frozenset[FieldName] = attribute(repr=False)
    valid_from: date | None = None
    valid_until: date | None = None
    minimised: bool = False
    collects: bool = True
    notice: str | None = None
    law: str | None = None
    interest: str | None = None
    direct_marketing: bool = False
    sale_or_share: bool = False
    restriction: Article18 | None = None
    automated_decision: bool = False
    logic: str | None = None
    consequences: str | None = None
    transfers: Mapping[str, str] = attribute(default_factory=dict)

    @property
    def rests_on_consent(self) -> bool:
        """Return whether the purpose needs the person's consent: by Art. 6(1)(a), or by Art. 9(2)(a)."""
        return self.legal_basis == LegalBasis.CONSENT or self.article9 == Article9.EXPLICIT_CONSENT

    @property
    def answers_people(self) -> bool:
        """Return whether the purpose is to meet people's own rights: an obligation that justifies no collection."""
        return self.legal_basis == LegalBasis.LEGAL_OBLIGATION and not self.collects

    def covers(self, shown: FieldView) -> bool:
        """Return whether the purpose needs the field, shown in that way."""
        return shown.name in self.views

    def in_force(self, day: date) -> bool:
        """Return whether the purpose may be relied on that day."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day <= self.valid_until
        )


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a request is about; everything, if it is empty.

    Attributes:
        fields: whole names of fields.
        collections: names of collections.
        purposes: names of purposes.
    """

    fields: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()


class LegalClaim(msgspec.Struct, frozen=True, array_like=True):
    """What staff keep for legal claims: canonical names of fields and collections (``complaint.*``), until when."""

    names: tuple[str, ...]
    until: date
